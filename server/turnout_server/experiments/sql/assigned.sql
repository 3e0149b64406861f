-- Who is in which arm, by epoch and day: to see whether arms got what their weights promise, and who is left out.
SELECT u.epoch, CAST(u.exposed AS DATE) AS day, u.arm,
       COUNT(*) AS units,
       SUM(CASE WHEN u.counts THEN 1 ELSE 0 END) AS counted,
       SUM(CASE WHEN u.counts AND EPOCH_US(u.exposed) + {window_us} <= EPOCH_US({as_of}) THEN 1 ELSE 0 END) AS mature,
       SUM(CASE WHEN u.moved THEN 1 ELSE 0 END) AS moved,
       SUM(u.exposures) AS exposures,
       SUM(u.exposures * u.exposures) AS squares
FROM units AS u
GROUP BY u.epoch, CAST(u.exposed AS DATE), u.arm
ORDER BY u.epoch, day, u.arm
