-- Where a referral is reported from. A referral without a team has no row here.
SELECT
    LOWER(CAST(r.ReferralID AS VARCHAR(36))) AS source_referral_id,
    LTRIM(RTRIM(g.RegionName)) AS region_name,
    LTRIM(RTRIM(p.PduName)) AS pdu_name,
    LTRIM(RTRIM(t.TeamName)) AS reporting_team_name
FROM dbo.Referral r
INNER JOIN dbo.ReportingTeam t ON t.TeamCode = r.TeamCode
INNER JOIN dbo.Pdu p ON p.PduCode = t.PduCode
INNER JOIN dbo.Region g ON g.RegionCode = p.RegionCode
WHERE COALESCE(r.IsDeleted, 0) = 0
