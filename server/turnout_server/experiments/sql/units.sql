-- Every unit that takes part, numbered in any order. Its first exposure says which arm and epoch it belongs to for good: that
-- is looked up for those that met several; the others only ever had one.
WITH met AS (
    SELECT unit_key_id, unit, COUNT(*) AS exposures, MIN(ts) AS exposed, MIN(epoch) AS epoch, MIN(assigned) AS arm,
           MIN(assigned) <> MAX(assigned) AS moved,
           MIN(assigned) <> MAX(assigned) OR MIN(epoch) <> MAX(epoch) AS several
    FROM eligible
    GROUP BY unit_key_id, unit
),
firsts AS (
    SELECT e.unit_key_id, e.unit,
           MIN({{'instance': e.instance, 'boot': e.boot, 'seq': e.seq, 'epoch': e.epoch, 'arm': e.assigned}}) AS first
    FROM eligible AS e
    JOIN met AS m ON m.unit_key_id = e.unit_key_id AND m.unit = e.unit AND m.exposed = e.ts
    WHERE m.several
    GROUP BY e.unit_key_id, e.unit
)
SELECT ROW_NUMBER() OVER () AS id, m.unit_key_id, m.unit, m.exposures, m.moved, m.exposed,
       COALESCE(f.first.epoch, m.epoch) AS epoch, COALESCE(f.first.arm, m.arm) AS arm,
       m.exposures <= {exposures_most} AS counts
FROM met AS m
LEFT JOIN firsts AS f ON f.unit_key_id = m.unit_key_id AND f.unit = m.unit
