-- Records that a login has a role, and answers with settings worth giving to that login: they win over the
-- database's own, and tasks are slower and retried more often under any other. No row: no such login.
with found as (
    select r.rolname from pg_catalog.pg_roles as r where r.rolname = %(login)s::text
), recorded as (
    insert into perdure.access (role, login)
    select %(role)s::text, f.rolname from found as f
    on conflict (role, login) do nothing
)
select format('alter role %%I in database %%I set %%s;', f.rolname, current_database(), s.setting) as hint
from found as f
cross join unnest(array[
    'default_transaction_isolation = ''read committed''',
    'default_transaction_read_only = off'
]) with ordinality as s (setting, place)
order by s.place
