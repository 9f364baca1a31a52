-- True for the one process that does the upkeep of this minute; nobody waits for another.
create function perdure.take_upkeep() returns boolean
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
begin
    insert into perdure.settings as s (key, value) values ('upkeep_at', to_jsonb(clock_timestamp()))
    on conflict (key) do update set value = excluded.value
    where (s.value #>> '{}')::timestamptz < (select clock_timestamp()) - interval '1 minute';
    return found;
end $$;
