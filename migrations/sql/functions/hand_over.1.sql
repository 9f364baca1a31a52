-- Gives the instance of a task that leaves ready and the leases to the one of its key that has waited
-- longest; if nobody waits, there are more than the limit allows by now, or it has been changed so that who
-- waits needs another key, it is free. Takes no lock that an open transaction may hold: who waits and is
-- locked is passed over. Its own row is locked first, so that who comes to wait is either seen here or sees
-- that it is locked (let_in).
create function perdure.hand_over(task bigint) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp set enable_seqscan = off set jit = off as $$
declare
    held record;
    most integer;
    next bigint;
    calm boolean := current_setting('transaction_isolation') = 'read committed';
begin
    select i.key, i.number into held from perdure.instances as i where i.task_id = task for update;
    if not found then
        return;
    end if;
    -- A transaction that reads as of its beginning does not see who waits now.
    if calm then
        most := (select y.max_instances from perdure.task_types as y where y.name = split_part(held.key, ' ', 1));
        if (select i.number from perdure.instances as i where i.key = held.key order by i.number desc limit 1) <= most
            or (select count(*) from perdure.instances as i where i.key = held.key) <= most
        then
            select w.task_id into next from perdure.waiting as w
            where w.instance_key between held.key and held.key
            order by w.instance_key, w.task_id limit 1 for update skip locked;
            -- Else it would hand it on at once, and so would the next, as deep as the line is long.
            next := (select k.task_id from perdure.wanted_keys(array[next]) as k where k.instance_key = held.key);
        end if;
    end if;
    if next is not null then
        update perdure.instances set task_id = next where key = held.key and number = held.number;
        delete from perdure.waiting where task_id = next;
        perform perdure.place(array[next]);
        return;
    end if;
    delete from perdure.instances where key = held.key and number = held.number;
    insert into perdure.openings (key)
    select held.key where not calm or perdure.first_waiting(held.key) is not null;
end $$;
