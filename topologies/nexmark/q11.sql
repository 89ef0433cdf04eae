WITH marked AS (
  SELECT bidder, dateTime,
    CASE WHEN dateTime - lag(dateTime) OVER (PARTITION BY bidder ORDER BY dateTime) < 10000 THEN 0 ELSE 1 END AS first
  FROM bid
), numbered AS (
  SELECT bidder, dateTime, sum(first) OVER (PARTITION BY bidder ORDER BY dateTime) AS session FROM marked
)
SELECT bidder, count(*) AS bid_count, min(dateTime) AS starttime, max(dateTime) + 10000 AS endtime
FROM numbered GROUP BY bidder, session
