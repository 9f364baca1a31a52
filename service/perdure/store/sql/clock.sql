-- The time, by the clock that decides.
select clock_timestamp() as now
