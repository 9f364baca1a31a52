-- Removes statistics older than a month, a small batch.
delete from perdure.statistics where ctid = any (array(
    select ctid from perdure.statistics where minute < (select clock_timestamp()) - interval '30 days' limit 1000))
