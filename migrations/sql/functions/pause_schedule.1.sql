-- Nothing of the schedule fires until it is resumed; what lives goes on. paused, already_paused, not_found,
-- or the state of one that cannot be paused: finished, broken.
create function perdure.pause_schedule(key text) returns text
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
begin
    update perdure.schedules as s set state = 'paused' where s.key = pause_schedule.key and s.state = 'active';
    if found then
        insert into perdure.audit (action, details) values ('pause_schedule', jsonb_build_object('key', pause_schedule.key));
        return 'paused';
    end if;
    return coalesce((
        select case s.state when 'paused' then 'already_paused' else s.state end
        from perdure.schedules as s where s.key = pause_schedule.key), 'not_found');
end $$;
