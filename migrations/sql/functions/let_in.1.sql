-- Gives free instances of a key to those who wait for one, in the order of their ids. Answers served:
-- nobody waits any more; full; blocked: to be asked again soon; late: too, somebody was in the way. placed: how many
-- have got one, or were asked anew. A number is taken by the primary key of instances alone, so this waits only
-- for a transaction that commits just now, and not for long. handshake: full is answered as served if each holder, once
-- it leaves, and whoever changes the limit, is bound to see who waits.
create function perdure.let_in(instance_key text, handshake boolean, out answer text, out placed integer)
    language plpgsql set search_path = pg_catalog, perdure, pg_temp
    set lock_timeout = '50ms' set enable_seqscan = off set jit = off as $$
declare
    first bigint := perdure.first_waiting(let_in.instance_key);
    rule record;
    held integer;
    free integer[];
    ids bigint[];
begin
    placed := 0;
    answer := 'served';
    -- Of who waits, as the definition that the key names may be gone, or have another limit by now.
    select y.max_instances, y.when_full, k.instance_key as wanted into rule
    from perdure.wanted_keys(array[first]) as k
    cross join lateral (select t.name from perdure.tasks as t where t.id = first limit 1) as t
    left join perdure.task_types as y on y.name = t.name;
    if first is null then
        return;
    elsif rule.max_instances is null or rule.wanted is distinct from let_in.instance_key then
        select a.answer, a.placed into answer, placed from perdure.ask_anew(let_in.instance_key) as a;
        return;
    end if;
    for turn in 1..10 loop
        -- In one statement: where a limit was lowered, a number that is free later need not be within it.
        with used as materialized (select i.number from perdure.instances as i where i.key = let_in.instance_key)
        select u.held, array(
            select n from generate_series(1, u.held + 200) as n where n not in (select o.number from used as o)
            order by n limit greatest(least(rule.max_instances - u.held, 200), 0))
        into held, free
        from (select count(*)::integer as held from used) as u;
        ids := array(
            select w.task_id from perdure.waiting as w
            where w.instance_key between let_in.instance_key and let_in.instance_key
            order by w.instance_key, w.task_id limit cardinality(free) for update skip locked);
        exit when ids = '{}';
        if exists (select from perdure.wanted_keys(ids) as k where k.instance_key is distinct from let_in.instance_key) then
            select a.answer, placed + a.placed into answer, placed from perdure.ask_anew(let_in.instance_key) as a;
            return;
        end if;
        -- Others may have taken some of the numbers by now: those for whom they were are picked again.
        with taken as (
            insert into perdure.instances (key, number, task_id)
            select let_in.instance_key, f.number, f.task_id
            from unnest(free[:cardinality(ids)], ids) as f (number, task_id) order by f.number
            on conflict (key, number) do nothing
            returning task_id)
        select array_agg(t.task_id order by t.task_id) into ids from taken as t;
        continue when ids is null;
        delete from perdure.waiting where task_id = any (ids);
        perform perdure.place(ids);
        placed := placed + cardinality(ids);
    end loop;
    if perdure.first_waiting(let_in.instance_key) is null then
        return;
    elsif held < rule.max_instances
        or rule.when_full <> 'queue' and perdure.make_room(let_in.instance_key, rule.max_instances, rule.when_full)
    then
        answer := 'blocked';
    elsif not handshake
        or not exists (
            select from perdure.task_types as y
            where y.name = split_part(let_in.instance_key, ' ', 1) for share skip locked)
        or rule.max_instances > (
            with locked as materialized (
                select i.number from perdure.instances as i
                where i.key = let_in.instance_key for no key update skip locked)
            select count(*) from locked)
    then
        answer := 'full';
    end if;
exception when lock_not_available or deadlock_detected then
    answer := 'late';
    placed := 0;
end $$;
