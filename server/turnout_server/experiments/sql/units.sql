-- Every unit that takes part, numbered in any order. Its first exposure says which arm and epoch it belongs to for good.
WITH firsts AS (
    SELECT unit_key_id, unit, COUNT(*) AS exposures, MIN(assigned) <> MAX(assigned) AS moved,
           MIN({{'ts': ts, 'instance': instance, 'boot': boot, 'seq': seq, 'epoch': epoch, 'arm': assigned}}) AS first
    FROM eligible
    GROUP BY unit_key_id, unit
)
SELECT ROW_NUMBER() OVER () AS id, unit_key_id, unit, exposures, moved, first.ts AS exposed, first.epoch AS epoch, first.arm AS arm,
       exposures <= {exposures_most} AS counts
FROM firsts
