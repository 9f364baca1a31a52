-- Removes those of these tasks that have ended and that nobody needs, with all that belongs to them; answers how
-- many. What somebody has locked, or its key, stays for the next time: it may be wanted. Who comes to follow a
-- task locks its row (link), and is asked for once that is locked here: in the same statement he might be missed.
create function perdure.remove_ended(ids bigint[]) returns integer
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    gone bigint[] := array(
        select o.task_id from perdure.outcomes as o
        where o.task_id = any (ids) order by o.task_id for update skip locked);
    free constant bigint[] := array(
        select t.id from perdure.tasks as t where t.id = any (gone) order by t.id for update skip locked);
    -- Whoever has locked a key, as retry, may want the outcome next: what is named by such a key stays.
    locked text[] := array(
        select k.key from perdure.unique_keys as k
        where k.key = any (array(select t.unique_key from perdure.tasks as t where t.id = any (free)))
        order by k.key for update skip locked);
begin
    gone := array(
        select o.task_id from perdure.outcomes as o
        where o.task_id = any (free) and not perdure.still_needed(o.task_id, o.finished_at) and not exists (
            select from perdure.tasks as t join perdure.unique_keys as k on k.key = t.unique_key
            where t.id = o.task_id and k.key <> all (locked)));
    delete from perdure.outcomes where task_id = any (gone);
    delete from perdure.attempts where task_id = any (gone);
    delete from perdure.progress where task_id = any (gone);
    delete from perdure.mail where task_id = any (gone);
    delete from perdure.inputs where task_id = any (gone);
    delete from perdure.instances where task_id = any (gone);
    delete from perdure.alarms where task_id = any (gone);
    delete from perdure.audit where task_id = any (gone);
    delete from perdure.unique_keys as k using perdure.tasks as t
    where t.id = any (gone) and k.key = t.unique_key and k.task_id = t.id;
    delete from perdure.tasks where id = any (gone);
    return cardinality(gone);
end $$;
