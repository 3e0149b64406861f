-- The values of some ranks, of all units whose window has closed, those that did nothing among them.
WITH everyone AS (
    SELECT u.epoch, u.arm, COALESCE(n.x, 0.0) AS x
    FROM units AS u
    LEFT JOIN numbers AS n ON n.metric = {metric} AND n.id = u.id
    WHERE u.counts
      AND EPOCH_US(u.exposed) + {window_us} <= EPOCH_US({as_of})
),
ranked AS (
    SELECT epoch, arm, x, ROW_NUMBER() OVER (PARTITION BY epoch, arm ORDER BY x) AS place
    FROM everyone
)
SELECT epoch, arm, place, x
FROM ranked
WHERE (epoch, arm, place) IN ({ranks})
ORDER BY epoch, arm, place
