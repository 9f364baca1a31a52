-- The revision of the schema, and the oldest revision whose code still runs on it.
select v.version_num as revision, s.value #>> '{}' as readable_from
from perdure.schema_version as v
left join perdure.settings as s on s.key = 'readable_from'
