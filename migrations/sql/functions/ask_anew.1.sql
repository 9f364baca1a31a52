-- Lets those who wait for a key that is not theirs any more, as a limit has been changed, ask again, for what
-- they have to wait for now. Answers blocked while anybody waits for the key: there may be more of them.
create function perdure.ask_anew(instance_key text, out answer text, out placed integer)
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    ids bigint[];
begin
    ids := array(
        select w.task_id from perdure.waiting as w
        where w.instance_key between ask_anew.instance_key and ask_anew.instance_key
        order by w.instance_key, w.task_id limit 1000 for update skip locked);
    ids := array(
        select k.task_id from perdure.wanted_keys(ids) as k
        where k.instance_key is distinct from ask_anew.instance_key order by k.task_id);
    delete from perdure.waiting where task_id = any (ids);
    perform perdure.place(ids);
    answer := case when perdure.first_waiting(ask_anew.instance_key) is null then 'served' else 'blocked' end;
    placed := cardinality(ids);
end $$;
