-- In how many seconds a schedule is to be looked at; 0 where one has no plan yet, null where there is none.
select extract(epoch from coalesce(s.look_at, now()) - clock_timestamp())::double precision
from perdure.schedules as s
where s.state = 'active' or s.state = 'paused' and s.look_at is null
order by s.look_at nulls first limit 1
