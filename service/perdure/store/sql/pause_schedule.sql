-- Nothing of the schedule fires until it is resumed: see the function.
select perdure.pause_schedule(%(key)s::text) as answer
