-- Who has waited longest for an instance of a key; null: nobody waits for one. Here and where others of a key
-- are picked it is a range of one key, in the order of the index: given equality, a planner that has seen one
-- key only would rather go through all that wait, in the order of their ids.
create function perdure.first_waiting(instance_key text) returns bigint
    language plpgsql set search_path = pg_catalog, perdure, pg_temp set enable_seqscan = off set jit = off as $$
begin
    return (
        select w.task_id from perdure.waiting as w
        where w.instance_key between first_waiting.instance_key and first_waiting.instance_key
        order by w.instance_key, w.task_id limit 1);
end $$;
