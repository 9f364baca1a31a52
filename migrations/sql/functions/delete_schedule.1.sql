-- Removes a schedule; tasks that it has made go on, and what became of its instants stays known.
create function perdure.delete_schedule(key text) returns text
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
begin
    delete from perdure.schedules as s where s.key = delete_schedule.key;
    if not found then
        return 'not_found';
    end if;
    insert into perdure.audit (action, details) values ('delete_schedule', jsonb_build_object('key', delete_schedule.key));
    return 'deleted';
end $$;
