-- Does what retry does for all failed or cancelled tasks that match; answers how many, dry_run (null is
-- yes) how many it would be. since is compared with the time of the end. Without arguments: all failed ones.
create function perdure.retry_where(
    name text default null, state text default 'failed', since timestamptz default null,
    error_type text default null, dry_run boolean default false
) returns bigint
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    ids bigint[] := perdure.matching(retry_where.name, retry_where.state, null, null, null,
        retry_where.since, retry_where.error_type);
    done bigint;
begin
    if (retry_where.state in ('failed', 'cancelled')) is not true then
        perform perdure.refuse('PD004|state must be failed or cancelled|nothing else can be run again');
    elsif dry_run is not false then
        return cardinality(ids);
    end if;
    perform perdure.lock_keys(ids);
    select count(*) filter (where a.answer = 'retried') into done
    from (select perdure.retry(i) as answer from unnest(ids) as i) as a;
    insert into perdure.audit (action, details) values ('retry_where', jsonb_strip_nulls(jsonb_build_object(
        'name', retry_where.name, 'state', retry_where.state, 'since', since, 'error_type', error_type)));
    return done;
end $$;
