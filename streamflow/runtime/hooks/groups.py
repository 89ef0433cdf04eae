"""Private hook into aiokafka's admin client, which has no call to delete a group: sends the request it knows."""

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupIdNotFound, NoError, for_code
from aiokafka.protocol.admin import DeleteGroupsRequest


async def delete_group(admin: AIOKafkaAdminClient, group: str) -> None:
    """Delete a group and its offsets; one that does not exist is fine. Raises KafkaError, also when it has members."""
    coordinator = await admin.find_coordinator(group)
    response = await admin._send_request(DeleteGroupsRequest([group]), coordinator)
    for _, code in response.results:
        error = for_code(code)
        if error not in (NoError, GroupIdNotFound):
            raise error(f"group {group} cannot be deleted")
