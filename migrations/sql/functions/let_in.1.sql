-- Gives free instances of a key to those who wait for one, in the order of their ids. Answers served:
-- nobody waits any more; full; blocked: to be asked again soon; late: too, somebody was in the way. A number is taken by the primary key of
-- instances alone, so this waits only for a transaction that commits just now, and not for long.
-- handshake: full is answered as served if each holder, once it leaves, is bound to see who waits.
create function perdure.let_in(instance_key text, handshake boolean default false) returns text
    language plpgsql set search_path = pg_catalog, perdure, pg_temp
    set lock_timeout = '50ms' set enable_seqscan = off set jit = off as $$
declare
    rule record;
    held integer;
    gap integer;
    next bigint;
begin
    -- Of who waits, as the definition that the key names may be gone, or have another limit by now.
    select y.max_instances, y.when_full, perdure.wanted_key(f.task_id) as wanted into rule
    from (
        select w.task_id from perdure.waiting as w
        where w.instance_key = let_in.instance_key order by w.task_id limit 1) as f
    cross join lateral (select t.name from perdure.tasks as t where t.id = f.task_id limit 1) as t
    left join perdure.task_types as y on y.name = t.name;
    if not found then
        return 'served';
    elsif rule.wanted is distinct from let_in.instance_key then
        return perdure.ask_anew(let_in.instance_key);
    end if;
    for turn in 1..1000 loop
        select count(*), min(s.place) filter (where s.number <> s.place) into held, gap
        from (
            select i.number, row_number() over (order by i.number) as place
            from perdure.instances as i where i.key = let_in.instance_key) as s;
        exit when held >= rule.max_instances;
        select w.task_id into next from perdure.waiting as w
        where w.instance_key = let_in.instance_key order by w.task_id limit 1 for update skip locked;
        exit when next is null;
        if perdure.wanted_key(next) is distinct from let_in.instance_key then
            return perdure.ask_anew(let_in.instance_key);
        end if;
        insert into perdure.instances (key, number, task_id)
        values (let_in.instance_key, coalesce(gap, held + 1), next)
        on conflict (key, number) do nothing;
        continue when not found;
        delete from perdure.waiting where task_id = next;
        perform perdure.place(array[next]);
    end loop;
    if not exists (select from perdure.waiting as w where w.instance_key = let_in.instance_key) then
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
