-- Bounds the statements of this session, if its login may vacuum: no row, and no bound, where the tables are not its
-- own. VACUUM cannot be in a transaction, so that SET LOCAL would not reach it; `unbound` takes it back.
select set_config('statement_timeout', %(milliseconds)s::text, false)
from (select s.tableoid from perdure.settings as s limit 1) as any_of_ours
join pg_catalog.pg_class as c on c.oid = any_of_ours.tableoid
where pg_catalog.pg_has_role(c.relowner, 'USAGE')
