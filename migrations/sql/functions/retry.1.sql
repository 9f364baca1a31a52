-- Runs a failed or cancelled task again with failures and crashes 0: retried; one that waits for its
-- retry at once: hastened. Else live, completed, key_taken, not_found: the task has not changed. A patch, or a
-- whole execution metadata, mends the checkpoint from which it goes on, as a proceed does. with_dependents: all
-- that ended for it, directly or by way of each other, wait again, unless another that they follow forbids it.
create function perdure.retry(
    id bigint, patch jsonb default null, execution_metadata jsonb default null, with_dependents boolean default false
) returns text
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    signal jsonb := perdure.signal(retry.patch, retry.execution_metadata, null, null);
    answer text;
    below bigint;
begin
    if not exists (select from perdure.tasks as t where t.id = retry.id and perdure.sees(t.enqueued_by)) then
        return 'not_found';
    end if;
    if retry.with_dependents then
        perform perdure.lock_keys(retry.id || perdure.dependents(retry.id));
    end if;
    answer := perdure.requeue(retry.id, signal, true);
    if retry.with_dependents then
        -- Asked again: some may have ended for it only now.
        foreach below in array perdure.dependents(retry.id) loop
            perform perdure.requeue(below, '{}', false);
        end loop;
    end if;
    return answer;
end $$;
