-- The live task that holds a unique key, null if none does. named is the task in the key's row, which
-- the caller has locked. If that one ended after a run, all before it had ended; if it never ran, it may
-- have been cancelled while it waited for another of the same key, which then holds it still.
-- Not stable: it would read with the caller's snapshot, taken before it waits for a range that is being
-- dropped, and not find a task that stays, as its row has been copied meanwhile.
create function perdure.key_holder(unique_key text, named bigint) returns bigint
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    ended record;
begin
    select o.started_at is not null as ran into ended from perdure.outcomes as o where o.task_id = named;
    if not found then
        return (select t.id from perdure.tasks as t where t.id = named);
    elsif ended.ran then
        return null;
    end if;
    return (
        select t.id from perdure.tasks as t
        where t.unique_key between key_holder.unique_key and key_holder.unique_key
            and (select o.task_id from perdure.outcomes as o where o.task_id = t.id limit 1) is null
        order by t.unique_key desc, t.id desc limit 1);
end $$;
