-- What became of the instants of a schedule, the newest first, from before a time on.
select f.fire_at, f.fate, f.count, f.task_id, f.decided_at from perdure.fires as f
where f.schedule_key = %(key)s::text and f.fire_at < coalesce(%(before)s::timestamptz, 'infinity')
order by f.fire_at desc limit %(at_most)s::integer
