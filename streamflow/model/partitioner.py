"""Kafka's default partitioner: murmur2 of the key bytes, so that our records meet those of any other client.

Source: org.apache.kafka.common.utils.Utils.murmur2 and BuiltInPartitioner.partitionForKey (Apache Kafka).
"""


def murmur2(data: bytes) -> int:
    """Signed-as-unsigned 32-bit murmur2 with Kafka's seed."""
    length = len(data)
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = (0x9747B28C ^ length) & mask
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k ^= k >> 24
        h = (h * m & mask) ^ (k * m & mask)
    tail = length & 3
    if tail:
        if tail == 3:
            h ^= data[whole + 2] << 16
        if tail >= 2:
            h ^= data[whole + 1] << 8
        h = (h ^ data[whole]) * m & mask
    h ^= h >> 13
    h = h * m & mask
    return h ^ (h >> 15)


def partition_of(key: bytes, partition_count: int) -> int:
    """Partition (0-based) of a record with this key."""
    return (murmur2(key) & 0x7FFFFFFF) % partition_count
