-- Moves the time of all that match and are pending, scheduled, retrying or blocked, rows locked in id order;
-- answers how many, dry_run (null is yes) how many it would be. At least one filter, and delay or run_at.
create function perdure.reschedule_where(
    name text default null, state text default null, tag text default null, unique_key text default null,
    queue text default null, delay interval default null, run_at timestamptz default null, dry_run boolean default false
) returns bigint
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    due constant timestamptz := coalesce(reschedule_where.run_at, clock_timestamp() + delay);
    wrong constant text := perdure.problem('a', '{}', null, null, reschedule_where.run_at, null, null, null, null, null,
        null, 2, delay);
    movable constant text[] := '{pending,scheduled,retrying,blocked}';
    ids bigint[];
    done bigint;
begin
    if wrong is not null then
        perform perdure.refuse(wrong);
    elsif due is null then
        perform perdure.refuse('PD004|delay or run_at is needed|delay => ''0'' is at once');
    elsif not reschedule_where.state = any (movable) then
        perform perdure.refuse('PD004|state must be pending, scheduled, retrying or blocked|no time can move another');
    end if;
    ids := perdure.matching(reschedule_where.name, reschedule_where.state, reschedule_where.tag,
        reschedule_where.unique_key, reschedule_where.queue, null, null);
    ids := array(
        select s.id from perdure.task_states as s where s.id = any (ids) and s.state = any (movable) order by s.id);
    if dry_run is not false then
        return cardinality(ids);
    end if;
    select count(*) filter (where a.answer = 'applied') into done
    from (
        select perdure.rewrite(l.task_id, '{}', due) as answer from perdure.lock_tasks(ids) as l
        where l.place in ('ready', 'waiting')) as a;
    insert into perdure.audit (action, details) values ('reschedule_where', jsonb_strip_nulls(jsonb_build_object(
        'name', reschedule_where.name, 'state', reschedule_where.state, 'tag', reschedule_where.tag,
        'unique_key', reschedule_where.unique_key, 'queue', reschedule_where.queue, 'due', due)));
    return done;
end $$;
