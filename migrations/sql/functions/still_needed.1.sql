-- Whether an ended task has to stay for another's sake: a live task follows it or reads its result, or it
-- still holds its unique key.
create function perdure.still_needed(task bigint, ended_at timestamptz) returns boolean
    language plpgsql stable set search_path = pg_catalog, perdure, pg_temp as $$
begin
    return exists (select from perdure.edges as e where e.after_id = task)
        or exists (
            select from perdure.inputs as i where i.after_id = task
                and not exists (select from perdure.outcomes as f where f.task_id = i.task_id))
        or exists (
            select from perdure.tasks as t join perdure.unique_keys as k on k.key = t.unique_key
            where t.id = task and k.task_id = t.id and ended_at > (select clock_timestamp()) - k.held_for);
end $$;
