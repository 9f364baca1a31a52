-- Forgets what became of the instants of schedules longer ago than that, a batch; answers how many rows.
create function perdure.prune_fires(older interval, at_most integer) returns integer
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    gone integer;
begin
    delete from perdure.fires where ctid = any (array(
        select f.ctid from perdure.fires as f
        where f.fire_at < (select clock_timestamp()) - older order by f.fire_at limit at_most for update skip locked));
    get diagnostics gone = row_count;
    return gone;
end $$;
