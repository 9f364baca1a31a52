-- Lets those who wait for a key that is not theirs any more, as a limit has been changed, ask again, for what
-- they have to wait for now. Answers blocked while anybody waits for the key: there may be more of them.
create function perdure.ask_anew(instance_key text) returns text
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    ids bigint[];
begin
    with picked as materialized (
        select w.ctid as row_at from perdure.waiting as w
        where w.instance_key = ask_anew.instance_key
            and perdure.wanted_key(w.task_id) is distinct from ask_anew.instance_key
        order by w.task_id limit 1000 for update skip locked),
    gone as (delete from perdure.waiting where ctid = any (array(select p.row_at from picked as p)) returning task_id)
    select array_agg(g.task_id order by g.task_id) into ids from gone as g;
    perform perdure.place(ids) where ids is not null;
    return case when exists (select from perdure.waiting as w where w.instance_key = ask_anew.instance_key)
        then 'blocked' else 'served' end;
end $$;
