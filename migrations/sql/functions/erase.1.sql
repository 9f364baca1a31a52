-- Nulls what an ended task carried: metadata becomes {}, checkpoint, steps, result and errors null,
-- also of its runs; counters, times and states stay. Answers erased, live, not_found.
create function perdure.erase(id bigint) returns text
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
begin
    if not exists (select from perdure.tasks as t where t.id = erase.id) then
        return 'not_found';
    end if;
    update perdure.outcomes as o set result = null, error = null where o.task_id = erase.id;
    if not found then
        return 'live';
    end if;
    update perdure.tasks as t set metadata = '{}', headers = null where t.id = erase.id;
    update perdure.progress as p set execution_metadata = null, steps = null, progress = null where p.task_id = erase.id;
    update perdure.attempts as a set error = null where a.task_id = erase.id;
    update perdure.audit as a set details = null where a.task_id = erase.id;
    insert into perdure.audit (action, task_id) values ('erase', erase.id);
    return 'erased';
end $$;
