-- Gives free instances of a key to those who wait for one, in the order of their ids. Answers served:
-- nobody waits any more; full; blocked: to be asked again soon; late: too, somebody was in the way. A number is taken by the primary key of
-- instances alone, so this waits only for a transaction that commits just now, and not for long.
-- handshake: full is answered as served if each holder, once it leaves, is bound to see who waits.
create function perdure.let_in(instance_key text, handshake boolean default false) returns text
    language plpgsql set search_path = pg_catalog, perdure, pg_temp
    set lock_timeout = '50ms' set enable_seqscan = off set jit = off as $$
declare
    first bigint := perdure.first_waiting(let_in.instance_key);
    rule record;
    held integer;
    ids bigint[];
begin
    -- Of who waits, as the definition that the key names may be gone, or have another limit by now.
    select y.max_instances, y.when_full, k.instance_key as wanted into rule
    from perdure.wanted_keys(array[first]) as k
    cross join lateral (select t.name from perdure.tasks as t where t.id = first limit 1) as t
    left join perdure.task_types as y on y.name = t.name;
    if first is null then
        return 'served';
    elsif rule.wanted is distinct from let_in.instance_key then
        return perdure.ask_anew(let_in.instance_key);
    end if;
    for turn in 1..10 loop
        select count(*) into held from perdure.instances as i where i.key = let_in.instance_key;
        exit when held >= rule.max_instances;
        ids := array(
            select w.task_id from perdure.waiting as w
            where w.instance_key between let_in.instance_key and let_in.instance_key
            order by w.instance_key, w.task_id limit least(rule.max_instances - held, 200) for update skip locked);
        exit when ids = '{}';
        if exists (select from perdure.wanted_keys(ids) as k where k.instance_key is distinct from let_in.instance_key) then
            return perdure.ask_anew(let_in.instance_key);
        end if;
        -- Others may have taken some of the numbers by now: those for whom they were are picked again.
        with free as materialized (
            select n as number, row_number() over (order by n) as place
            from generate_series(1, held + cardinality(ids)) as n
            where not exists (
                select from perdure.instances as i where i.key = let_in.instance_key and i.number = n)
            order by n limit cardinality(ids)),
        taken as (
            insert into perdure.instances (key, number, task_id)
            select let_in.instance_key, f.number, ids[f.place] from free as f order by f.number
            on conflict (key, number) do nothing
            returning task_id)
        select array_agg(t.task_id order by t.task_id) into ids from taken as t;
        continue when ids is null;
        delete from perdure.waiting where task_id = any (ids);
        perform perdure.place(ids);
    end loop;
    if perdure.first_waiting(let_in.instance_key) is null then
        return 'served';
    elsif held < rule.max_instances then
        return 'blocked';
    elsif rule.when_full <> 'queue' and perdure.make_room(let_in.instance_key, rule.max_instances, rule.when_full) then
        return 'blocked';
    elsif handshake and rule.max_instances <= (
        with locked as materialized (
            select i.number from perdure.instances as i
            where i.key = let_in.instance_key for no key update skip locked)
        select count(*) from locked)
    then
        return 'served';
    end if;
    return 'full';
exception when lock_not_available or deadlock_detected then
    return 'late';
end $$;
