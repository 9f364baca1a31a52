-- Admits those of the tasks that have no place at all, as their rows say; answers their ids. Never
-- called by the machine itself. The rows of the ledger are locked first and their places are read in
-- a later statement, so that of two repairs one finds nothing left to do.
create function perdure.repair(ids bigint[]) returns bigint[]
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    lost bigint[];
    later record;
begin
    perform from perdure.tasks as t where t.id = any (repair.ids) order by t.id for update;
    lost := array(
        select t.id from perdure.tasks as t
        where t.id = any (repair.ids)
            and not exists (select from perdure.ready as r where r.task_id = t.id)
            and not exists (select from perdure.waiting as w where w.task_id = t.id)
            and not exists (select from perdure.leases as l where t.id = any (l.task_ids))
            and not exists (select from perdure.outcomes as o where o.task_id = t.id)
        order by t.id);
    for later in
        select t.run_at, array_agg(t.id order by t.id) as ids from perdure.tasks as t
        where t.id = any (lost) group by t.run_at
    loop
        perform perdure.place(later.ids, null, later.run_at);
    end loop;
    insert into perdure.audit (action, task_id) select 'repair', i from unnest(lost) as i order by i;
    return lost;
end $$;
