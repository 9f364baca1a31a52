-- What is wrong with the form of one entry of enqueue_many: unknown or missing members, wrong types.
-- The values are checked by perdure.problem.
create function perdure.entry_problem(entry jsonb) returns text
    language sql stable set search_path = pg_catalog, perdure, pg_temp as $$
    select case when jsonb_typeof(entry) <> 'object'
        then 'PD004|is not a JSON object|{"name": ..., "metadata": {...}}'
    else (
        select case
            when allowed.kind is null
                then 'PD004|' || quote_ident(left(member.key, 40)) || ' is not a member of a task|see the arguments of enqueue for their names'
            else 'PD004|' || member.key || ' must be of type ' || allowed.kind || '|see the arguments of enqueue' end
        from jsonb_each(entry) as member
        left join (values
            ('name', 'string'), ('metadata', 'object'), ('queue', 'string'), ('priority', 'number'),
            ('delay', 'number'), ('run_at', 'string'), ('unique_key', 'string'), ('unique_policy', 'string'),
            ('tags', 'array'), ('requires', 'array'), ('headers', 'object'), ('max_retries', 'number'),
            ('retry_delays', 'array'), ('execution_metadata', 'object'),
            ('request_id', 'string'), ('after', 'array'), ('expires_at', 'string'), ('deadline_at', 'string'),
            ('unique_for', 'number'), ('max_delay', 'number')
        ) as allowed (key, kind) on allowed.key = member.key
        where allowed.kind is null
            or jsonb_typeof(member.value) not in (allowed.kind, 'null')
            or member.key in ('priority', 'max_retries') and (member.value)::text !~ '^-?[0-9]{1,9}$' and member.value <> 'null'
            or member.key in ('delay', 'unique_for', 'max_delay') and (member.value)::text !~ '^-?[0-9]{1,10}([.][0-9]+)?$' and member.value <> 'null'
            or member.key = 'retry_delays' and (member.value)::text !~ '^\[(-?[0-9]{1,9}([.][0-9]+)?(, |\]$))*$' and member.value not in ('null', '[]')
            or member.key = 'request_id' and (member.value #>> '{}') !~ '^[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}$'
            or member.key in ('tags', 'requires') and jsonb_path_exists(member.value, 'strict $[*] ? (@.type() != "string")', silent => true)
            or member.key in ('run_at', 'expires_at', 'deadline_at') and ((member.value #>> '{}') !~ '^(?!0+-|.*-(02-30|0[2469]-31|11-31))[0-9]{4,5}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?(Z|[+-](0[0-9]|1[0-5])(:?[0-5][0-9])?)?)?$'
                or (member.value #>> '{}') ~ '^[0-9]+-02-29' and not exists (
                    select from (select substring(member.value #>> '{}' from '^[0-9]+')::numeric as year) as y
                    where y.year % 4 = 0 and (y.year % 100 <> 0 or y.year % 400 = 0)))
        order by member.key limit 1)
    end
    union all
    select 'PD004|name is missing|{"name": ..., "metadata": {...}}'
    where jsonb_typeof(entry) = 'object' and coalesce(jsonb_typeof(entry -> 'name'), 'null') = 'null'
    order by 1 nulls last limit 1
$$;
