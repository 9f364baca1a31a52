-- A line per object of the schema: what each kind of login may do with it, - for nothing.
with who as (
    select kind, login from unnest(%(kinds)s::text[], %(logins)s::text[]) as w (kind, login)
    where kind <> 'other producer'
), home as (
    select relnamespace as id from pg_class where oid = 'perdure.tasks'::regclass
), held as (
    select 'schema' as object, w.kind, lower(p) as privilege
    from home, who as w, unnest('{USAGE,CREATE}'::text[]) as p
    where has_schema_privilege(w.login, home.id, p)
    union all
    select 'relation ' || c.relname, w.kind, lower(p)
    from home join pg_class as c on c.relnamespace = home.id and c.relkind in ('r', 'p', 'v')
    cross join who as w
    cross join unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[] || case
        when current_setting('server_version_num')::int >= 170000 then '{MAINTAIN}'::text[] end) as p
    where has_table_privilege(w.login, c.oid, p)
    union all
    select 'relation ' || c.relname, w.kind,
        lower(p) || '(' || string_agg(a.attname, ',' order by a.attname) || ')'
    from home join pg_class as c on c.relnamespace = home.id and c.relkind in ('r', 'p', 'v')
    join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0
    cross join who as w
    cross join unnest('{SELECT,INSERT,UPDATE,REFERENCES}'::text[]) as p
    where has_column_privilege(w.login, c.oid, a.attnum, p)
        and not has_table_privilege(w.login, c.oid, p)
    group by c.relname, w.kind, p
    union all
    select 'sequence ' || c.relname, w.kind, lower(p)
    from home join pg_class as c on c.relnamespace = home.id and c.relkind = 'S'
    cross join who as w cross join unnest('{USAGE,SELECT,UPDATE}'::text[]) as p
    where has_sequence_privilege(w.login, c.oid, p)
    union all
    select 'function ' || f.proname, w.kind, 'execute'
    from home join pg_proc as f on f.pronamespace = home.id cross join who as w
    where has_function_privilege(w.login, f.oid, 'EXECUTE')
), objects as (
    select 'schema' as object
    union all
    select case c.relkind when 'S' then 'sequence ' else 'relation ' end || c.relname
    from home join pg_class as c on c.relnamespace = home.id and c.relkind in ('r', 'p', 'v', 'S')
    union all
    select 'function ' || f.proname from home join pg_proc as f on f.pronamespace = home.id
    union all
    select 'type ' || t.typname from home join pg_type as t on t.typnamespace = home.id
    left join pg_class as c on c.oid = t.typrelid
    where t.typcategory <> 'A' and coalesce(c.relkind, 'c') = 'c'
)
select o.object || ': ' || coalesce(string_agg(h.given, '; ' order by h.kind), '-')
from objects as o left join (
    select object, kind, kind || ' ' || string_agg(privilege, ' ' order by privilege) as given
    from held group by object, kind
) as h on h.object = o.object
group by o.object order by o.object collate "C"
