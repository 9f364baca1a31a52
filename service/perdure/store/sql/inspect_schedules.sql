-- Schedules that something is wrong with: broken, of a name that no live worker knows, or put by code that
-- no live worker has any more.
with live as materialized (
    select w.names, w.schedules from perdure.workers as w
    where not w.stopping and w.heartbeat_at + make_interval(secs => w.lease_seconds) > clock_timestamp()
), judged as (
    select s.key, s.name, s.state, case
        when s.problem is not null then s.problem
        when s.state <> 'active' or s.created_at > (select clock_timestamp()) - interval '1 minute' then null
        when not exists (select from live as v where s.name = any (v.names)) then 'no live worker knows ' || s.name
        when s.declared and not exists (select from live as v where s.key = any (v.schedules))
            then 'no live worker declares it any more'
        end as why
    from perdure.schedules as s
)
select j.key, j.name, j.state, j.why from judged as j where j.why is not null order by j.key limit 100
