-- The weekly times of a group; day 1 is Monday.
SELECT
    LOWER(CAST(s.SlotID AS VARCHAR(36))) AS source_slot_id,
    LOWER(CAST(s.GroupID AS VARCHAR(36))) AS source_group_id,
    s.DayNumber AS day_number,
    LTRIM(RTRIM(s.StartTime)) AS start_time
FROM dbo.GroupSlot s
