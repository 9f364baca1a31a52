-- Gives tasks that were claimed and not started back to ready, unharmed: no counter moves. Answers
-- those given back; a lease that somebody has locked is left for the next call.
create function perdure.hand_back(lease_ids uuid[], ids bigint[]) returns bigint[]
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    held record;
    back bigint[];
    given bigint[] := '{}';
begin
    for held in
        select l.id, l.task_ids from perdure.leases as l
        where l.id = any (lease_ids) order by l.id for no key update skip locked
    loop
        select coalesce(array_agg(i order by i), '{}') into back
        from unnest(held.task_ids) as i where i = any (ids);
        if cardinality(back) = cardinality(held.task_ids) then
            perform from perdure.leases where id = held.id for update skip locked;
            if found then
                delete from perdure.leases where id = held.id;
            else
                update perdure.leases set task_ids = '{}' where id = held.id;
            end if;
        elsif back <> '{}' then
            update perdure.leases
            set task_ids = array(select i from unnest(held.task_ids) as i where i <> all (back))
            where id = held.id;
        end if;
        given := given || back;
    end loop;
    if given <> '{}' then
        perform perdure.place(given);
    end if;
    return given;
end $$;
