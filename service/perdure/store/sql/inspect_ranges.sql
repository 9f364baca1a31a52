-- The range of ids in use, and how many are attached beyond it; the sequence is read by its value
-- alone, which whoever may use it may see. The schema is known by a table that all logins may read.
with home as (
    select c.relnamespace as oid from pg_class as c
    where c.oid = (select s.tableoid from perdure.settings as s limit 1)
), now_at as (
    select coalesce(pg_sequence_last_value(c.oid), 0) / 100000000 as number
    from pg_class as c, home where c.relnamespace = home.oid and c.relname = 'tasks_id_seq'
)
select n.number, count(c.oid) filter (where substring(c.relname from '^tasks_([0-9]+)$')::bigint > n.number) as ahead
from now_at as n left join pg_class as c on c.relname ~ '^tasks_[0-9]+$' and c.relispartition
    and c.relnamespace = (select h.oid from home as h)
group by n.number
