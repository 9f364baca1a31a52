-- How many slots a worker has, as others see it: a reload has changed it.
update perdure.workers set slots = %(slots)s::integer where id = %(worker)s::bigint
