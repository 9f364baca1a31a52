-- Records the names that this worker serves and makes their lanes.
select perdure.register_types(%(types)s::jsonb)
