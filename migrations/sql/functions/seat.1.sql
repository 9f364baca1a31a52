-- The part of place for names with a limit: answers those that have to ask for an instance, each with its
-- key. waits: they go to waiting for something else, and hand over what they hold; a change of the metadata
-- or of the limit may have changed their key, so that they ask anew.
create function perdure.seat(ids bigint[], waits boolean) returns table (task_id bigint, instance_key text)
    language plpgsql set search_path = pg_catalog, perdure, pg_temp
    set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
    one record;
begin
    for one in
        select k.task_id as id, h.key as held, k.instance_key as wanted,
            waits or (select e.after_id from perdure.edges as e where e.task_id = k.task_id limit 1) is not null as waits
        from perdure.wanted_keys(ids) as k
        left join lateral (select h.key from perdure.instances as h where h.task_id = k.task_id limit 1) as h on true
        where k.instance_key is not null or h.key is not null
        order by k.task_id
    loop
        if one.held is not null and (one.waits or one.held is distinct from one.wanted) then
            perform perdure.hand_over(one.id);
            one.held := null;
        end if;
        if not one.waits and one.wanted is not null and one.held is null then
            task_id := one.id;
            instance_key := one.wanted;
            return next;
        end if;
    end loop;
end $$;
