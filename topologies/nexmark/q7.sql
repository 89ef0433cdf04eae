SELECT B.auction, B.bidder, B.price, B.dateTime, B.extra
FROM bid B
JOIN (
  SELECT max(price) AS maxprice, dateTime // 10000 * 10000 + 10000 AS endtime FROM bid GROUP BY endtime
) M ON B.price = M.maxprice
WHERE B.dateTime BETWEEN M.endtime - 10000 AND M.endtime
