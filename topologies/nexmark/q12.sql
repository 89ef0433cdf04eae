SELECT bidder, count(*) AS bid_count, appended // 10000 * 10000 AS starttime, starttime + 10000 AS endtime
FROM bid GROUP BY bidder, starttime
