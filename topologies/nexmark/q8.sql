SELECT P.id, P.name, P.stime
FROM (SELECT DISTINCT id, name, dateTime // 10000 * 10000 AS stime FROM person) P
JOIN (SELECT DISTINCT seller, dateTime // 10000 * 10000 AS stime FROM auction) A
ON P.id = A.seller AND P.stime = A.stime
