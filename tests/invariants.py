"""What must hold in every database, as questions that must answer no rows."""

from __future__ import annotations

from typing import NamedTuple


class Question(NamedTuple):
    """`sql` answers the rows that break the invariant `name`; it has no parameters and no limit."""

    name: str
    sql: str


# At every moment, in a snapshot of its own each: a test may ask while workers run.
ALWAYS = (
    Question("every task is in exactly one place", "select * from perdure.misplaced_tasks"),
    Question(
        "a task ends once",
        "select task_id from perdure.outcomes group by task_id having count(*) > 1",
    ),
    Question(
        "a task ends as completed, failed or cancelled",
        """
        select task_id, state from perdure.outcomes
        where state not in ('completed', 'failed', 'cancelled')
        """,
    ),
    Question(
        "a task is held once",
        """
        select held.task_id from perdure.leases, unnest(task_ids) as held (task_id)
        group by held.task_id having count(*) > 1
        """,
    ),
    Question(
        "a lease belongs to a worker",
        """
        select id, worker_id from perdure.leases
        where worker_id not in (select id from perdure.workers)
        """,
    ),
    Question(
        "a lease holds at most 64 tasks",
        "select id from perdure.leases where cardinality(task_ids) > 64",
    ),
    Question(
        "a schedule makes one task for an instant",
        """
        select schedule_key, fire_at from perdure.tasks
        where schedule_key is not null and fire_at is not null
        group by schedule_key, fire_at having count(*) > 1
        """,
    ),
    Question(
        "what fired has its task, for that instant",
        """
        select f.schedule_key, f.fire_at from perdure.fires as f
        join perdure.tasks as t on t.id = f.task_id
        where (t.schedule_key, t.fire_at) is distinct from
            (f.schedule_key, case when f.fate <> 'manual' then f.fire_at end)
        """,
    ),
    Question(
        "a ready task has a lane that exists",
        """
        select lane, task_id from perdure.ready
        where lane not in (select id from perdure.lanes)
        """,
    ),
    Question(
        "a ready task has a priority from 0 to 9",
        "select task_id, priority from perdure.ready where priority not between 0 and 9",
    ),
    Question(
        "the number of a run is used once",
        """
        select o.task_id, o.attempt from perdure.outcomes as o
        join perdure.attempts as a on a.task_id = o.task_id and a.attempt >= o.attempt
        where o.started_at is not null
        """,
    ),
    Question(
        "a run that was recorded is counted",
        """
        select p.task_id, p.attempt from perdure.progress as p
        join perdure.attempts as a on a.task_id = p.task_id and a.attempt > p.attempt
        """,
    ),
    Question(
        "no more failures than the task's own policy allows",
        """
        select p.task_id, p.failures from perdure.progress as p
        join perdure.tasks as t on t.id = p.task_id
        where t.max_retries >= 0 and p.failures > t.max_retries
            and not exists (select from perdure.outcomes as o where o.task_id = p.task_id)
        """,
    ),
    Question(
        "no more crashes than max_crashes",
        "select task_id, crashes from perdure.progress where crashes > 10",
    ),
    Question(
        "no counter is negative",
        """
        select task_id from perdure.progress
        where least(attempt, failures, interruptions, crashes) < 0
        """,
    ),
    Question(
        "blockers counts the open edges",
        """
        select w.task_id, w.blockers from perdure.waiting as w
        where w.blockers <> (select count(*) from perdure.edges as e where e.task_id = w.task_id)
        """,
    ),
    Question(
        "a task with an open edge waits",
        """
        select e.task_id, e.after_id from perdure.edges as e
        where not exists (select from perdure.waiting as w where w.task_id = e.task_id)
        """,
    ),
    Question(
        "who is followed has a mark or a letter that says so",
        """
        select e.task_id, e.after_id from perdure.edges as e
        where not exists (
                select from perdure.progress as p
                where p.task_id = e.after_id and p.marks & 8 > 0
                    and not exists (select from perdure.outcomes as o where o.task_id = p.task_id))
            and not exists (
                select from perdure.mail as m where m.task_id = e.after_id and m.kind = 'follower')
        """,
    ),
    Question(
        "a task in a chain waits only for what it follows",
        """
        select e.task_id, e.after_id from perdure.edges as e
        where e.kind = 'after' and not exists (
            select from perdure.inputs as i
            where i.task_id = e.task_id and i.after_id = e.after_id and i.rule = e.rule)
        """,
    ),
    Question(
        "a waiting task waits for something",
        """
        select task_id, reason from perdure.waiting
        where due_at is null and wait_key is null and blockers = 0 and instance_key is null
            and reason <> 'suspended'
        """,
    ),
    Question(
        "who waits for an instance waits for nothing else",
        """
        select task_id, reason, due_at, blockers from perdure.waiting
        where (reason = 'instances') <> (instance_key is not null)
            or instance_key is not null and (due_at is not null or blockers > 0)
        """,
    ),
    Question(
        "who holds an instance is ready or running",
        """
        select i.key, i.task_id from perdure.instances as i
        where not exists (select from perdure.ready as r where r.task_id = i.task_id)
            and not exists (select from perdure.leases as l where i.task_id = any (l.task_ids))
        """,
    ),
    Question(
        "who is ready or running from a lane with a limit holds an instance",
        """
        select r.task_id from perdure.ready as r join perdure.lanes as l on l.id = r.lane
        where l.limited
            and not exists (select from perdure.instances as i where i.task_id = r.task_id)
        """,
    ),
    Question(
        "nobody waits for a free instance unless somebody is to look",
        """
        select w.instance_key, min(w.task_id) from perdure.waiting as w
        join perdure.task_types as y on y.name = split_part(w.instance_key, ' ', 1)
        where not exists (select from perdure.openings as o where o.key = w.instance_key)
            and y.max_instances > (
                select count(*) from perdure.instances as i where i.key = w.instance_key)
        group by 1
        """,
    ),
    Question(
        "one live task of a unique key at most is outside waiting",
        """
        select t.unique_key from perdure.tasks as t
        where t.unique_key is not null
            and not exists (select from perdure.outcomes as o where o.task_id = t.id)
            and not exists (select from perdure.waiting as w where w.task_id = t.id)
        group by t.unique_key having count(*) > 1
        """,
    ),
    Question(
        "an alarm is of a task that is known",
        """
        select a.task_id, a.kind from perdure.alarms as a
        where not exists (select from perdure.tasks as t where t.id = a.task_id)
        """,
    ),
    Question(
        "a live task whose expiry or deadline lies ahead has an alarm for it",
        """
        select t.id, k.kind from perdure.tasks as t
        cross join lateral (
            values ('expire', t.expires_at), ('deadline', t.deadline_at)) as k (kind, at)
        where k.at > clock_timestamp()
            and not exists (select from perdure.outcomes as o where o.task_id = t.id)
            and not exists (
                select from perdure.alarms as a where a.task_id = t.id and a.kind = k.kind)
        """,
    ),
    Question(
        "a unique key names a task that has it",
        """
        select k.key, k.task_id from perdure.unique_keys as k
        join perdure.tasks as t on t.id = k.task_id
        where t.unique_key is distinct from k.key
        """,
    ),
)

# After the workers have done all there was to do, and with a history that they alone have written.
AT_THE_END = (
    Question("nothing is ready", "select task_id from perdure.ready"),
    Question("nothing is leased", "select id, worker_id, task_ids from perdure.leases"),
    Question(
        "nothing is due",
        """
        select task_id, reason, due_at from perdure.waiting
        where due_at <= clock_timestamp() and blockers = 0
        """,
    ),
    Question(
        "nobody waits for an instance",
        "select task_id, instance_key from perdure.waiting where instance_key is not null",
    ),
    Question("nobody holds an instance", "select key, number, task_id from perdure.instances"),
    Question(
        "an ended task has no mail",
        """
        select m.task_id, m.kind from perdure.mail as m
        join perdure.outcomes as o on o.task_id = m.task_id
        """,
    ),
    Question(
        "nobody waits for an ended task",
        """
        select e.task_id, e.after_id from perdure.edges as e
        join perdure.outcomes as o on o.task_id = e.after_id
        """,
    ),
    Question(
        "an ended task was run as often as its history says",
        """
        select o.task_id, o.attempt from perdure.outcomes as o
        where o.attempt - (o.started_at is not null)::integer
            <> (select count(*) from perdure.attempts as a where a.task_id = o.task_id)
        """,
    ),
    Question(
        "a live task was run as often as its history says",
        """
        select p.task_id, p.attempt from perdure.progress as p
        where p.attempt <> (select count(*) from perdure.attempts as a where a.task_id = p.task_id)
            and not exists (select from perdure.outcomes as o where o.task_id = p.task_id)
        """,
    ),
    Question(
        "only a failure is counted as one",
        """
        select p.task_id, p.failures from perdure.progress as p
        left join perdure.outcomes as o on o.task_id = p.task_id
        where p.failures > coalesce((o.state <> 'completed')::integer, 0) + (
            select count(*) from perdure.attempts as a
            where a.task_id = p.task_id and a.kind = 'failure')
        """,
    ),
)
