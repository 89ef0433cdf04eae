WITH hops AS (
  SELECT auction, unnest(range(dateTime // 2000 * 2000 - 8000, dateTime // 2000 * 2000 + 1, 2000)) AS starttime FROM bid
), counts AS (
  SELECT auction, starttime, count(*) AS num FROM hops GROUP BY auction, starttime
)
SELECT auction, num FROM counts
JOIN (SELECT starttime, max(num) AS maxn FROM counts GROUP BY starttime) USING (starttime)
WHERE num >= maxn
