"""The steps of a stream, each one Lua script. All keys are in the cluster slot of the stream.

    <key>                   the Redis stream, which other programs may read and append to
    {<key>}:meta            hash: v (the layout), max_age_ms, max_records, start:GROUP (where a group began)
    {<key>}:open:GROUP      zset: ids that were given back, by the time at which they are delivered again

A record that was given back stays pending in Redis's own list, under the consumer `-`.
"""

from __future__ import annotations

from prism_proxy.backends.redis.scripts import Script

LAYOUT = 1

# KEYS: stream, meta, and open records where a group is meant. ARGV 1: the channel that wakes who waits.
_COMMON = """
if redis.replicate_commands then redis.replicate_commands() end
local stream, meta, open = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local conf = redis.call('HMGET', meta, 'v', 'max_age_ms', 'max_records')
if conf[1] and conf[1] ~= '1' then return redis.error_reply('LAYOUT ' .. conf[1]) end
local age, most = tonumber(conf[2] or 0), tonumber(conf[3] or 0)
local there = conf[1] or redis.call('EXISTS', stream) == 1

local function text(number) return string.format('%.0f', number) end
local function wake() redis.call('PUBLISH', ARGV[1], '') end
local function begin() redis.call('HSETNX', meta, 'v', '1') end

local function last()
  if redis.call('EXISTS', stream) == 0 then return '0-0' end
  local told = redis.call('XINFO', 'STREAM', stream)
  for at = 1, #told, 2 do if told[at] == 'last-generated-id' then return told[at + 1] end end
end

local function trim()
  local length = redis.call('XLEN', stream)
  if most > 0 then redis.call('XTRIM', stream, 'MAXLEN', '=', text(most)) end
  if age > 0 then redis.call('XTRIM', stream, 'MINID', '=', text(now - age)) end
  return length - redis.call('XLEN', stream)
end

local function from(id)
  if age > 0 and tonumber(string.match(id, '^%d+')) < now - age then return text(now - age) end
  return id
end
"""


def _step(source: str) -> Script:
    return Script(_COMMON + source)


# KEYS 4..: of deduplication ids. ARGV 2: window, 3, 4: retention of a stream that has none of its own; then for each
# record which of the deduplication keys (0 = none), the number of its fields and values, and these
APPEND = _step("""
begin()
if not conf[2] then age, most = tonumber(ARGV[3]), tonumber(ARGV[4]) end
local ids, at = {}, 5
while at <= #ARGV do
  local once, count = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local id = once > 0 and redis.call('GET', KEYS[3 + once])
  if not id then
    id = redis.call('XADD', stream, '*', unpack(ARGV, at + 2, at + 1 + count))
    if once > 0 then redis.call('SET', KEYS[3 + once], id, 'PX', ARGV[2]) end
  end
  table.insert(ids, id)
  at = at + 2 + count
end
trim()
wake()
return ids
""")

# ARGV 2: from, 3: to, 4: how many. Whether there is such a stream, its last id, records.
READ = _step("""
if redis.call('EXISTS', stream) == 0 then return {there and 1 or 0, '0-0', {}} end
return {1, last(), redis.call('XRANGE', stream, from(ARGV[2]), ARGV[3], 'COUNT', ARGV[4])}
""")

# Whether there is such a stream, the last id that it gave, and that of its newest record.
LATEST = _step("""
if redis.call('EXISTS', stream) == 0 then return {there and 1 or 0, '0-0', ''} end
local newest = redis.call('XREVRANGE', stream, '+', from('0-0'), 'COUNT', 1)
return {1, last(), newest[1] and newest[1][1] or ''}
""")

# ARGV 2: group, 3: the id behind which it begins, or $
CREATE_GROUP = _step("""
begin()
local id = ARGV[3] == '$' and last() or ARGV[3]
redis.call('XGROUP', 'CREATE', stream, ARGV[2], id, 'MKSTREAM')
redis.call('HSET', meta, 'start:' .. ARGV[2], id)
return 1
""")

# ARGV 2: group, 3: consumer, 4: what it may have, 5: acknowledgement's time, 6: deliveries at most, 7: 1 to look for
# what others did not acknowledge. Records with their deliveries, dead ones, and in how long one is delivered again.
FETCH = _step("""
local group, consumer, limit = ARGV[2], ARGV[3], tonumber(ARGV[4])
local room = limit - #redis.call('XPENDING', stream, group, '-', '+', limit, consumer)
local found, dead = {}, {}
local function again(id)
  local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
  redis.call('ZREM', open, id)
  if not pending then return end
  local record = redis.call('XRANGE', stream, id, id)[1]
  if not record then redis.call('XACK', stream, group, id) return end
  if tonumber(ARGV[6]) > 0 and pending[4] >= tonumber(ARGV[6]) then
    redis.call('XCLAIM', stream, group, '-', 0, id, 'JUSTID')
    redis.call('ZADD', open, text(now + 10000), id)
    table.insert(dead, {id, record[2], pending[4], 'it was not acknowledged'})
  elseif room > 0 or pending[2] == consumer then  -- its own have their room: a member that died left them to itself
    redis.call('XCLAIM', stream, group, consumer, 0, id)
    table.insert(found, {id, record[2], pending[4] + 1})
    if pending[2] ~= consumer then room = room - 1 end
  else
    redis.call('ZADD', open, text(now), id)
  end
end
local due = redis.call('ZRANGEBYSCORE', open, '-inf', text(now), 'LIMIT', 0, math.max(room, 1))
for _, id in ipairs(due) do again(id) end
if ARGV[7] == '1' then
  for _, pending in ipairs(redis.call('XPENDING', stream, group, 'IDLE', ARGV[5], '-', '+', 100)) do
    if not redis.call('ZSCORE', open, pending[1]) then again(pending[1]) end
  end
end
if room > 0 then
  local read = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', room, 'STREAMS', stream, '>')
  if read then
    for _, record in ipairs(read[1][2]) do
      if age > 0 and tonumber(string.match(record[1], '^%d+')) < now - age then
        redis.call('XACK', stream, group, record[1])
      else
        table.insert(found, {record[1], record[2], 1})
      end
    end
  end
end
local first = redis.call('ZRANGE', open, 0, 0, 'WITHSCORES')
return {found, dead, first[2] and math.max(0, tonumber(first[2]) - now) or -1}
""")

# ARGV 2: group, 3: consumer. What it had is for others now.
LEAVE = _step("""
for _, pending in ipairs(redis.call('XPENDING', stream, ARGV[2], '-', '+', 10000, ARGV[3])) do
  redis.call('XCLAIM', stream, ARGV[2], '-', 0, pending[1], 'JUSTID')
  redis.call('ZADD', open, text(now), pending[1])
end
redis.call('XGROUP', 'DELCONSUMER', stream, ARGV[2], ARGV[3])
wake()
return 1
""")

# ARGV 2: group, then ids
ACK = _step("""
local count = redis.call('XACK', stream, ARGV[2], unpack(ARGV, 3))
if count == 0 then redis.call('XPENDING', stream, ARGV[2]) end -- says so when there is no such group
redis.call('ZREM', open, unpack(ARGV, 3))
if count > 0 then wake() end
return count
""")

# ARGV 2: group, 3: delay, 4: reason, 5: deliveries at most, or 1 for those that are dead at once; then ids. How many
# were open, and which are dead.
NACK = _step("""
local count, dead = 0, {}
for at = 6, #ARGV do
  local id = ARGV[at]
  local pending = redis.call('XPENDING', stream, ARGV[2], id, id, 1)[1]
  if pending and pending[2] ~= '-' then
    count = count + 1
    redis.call('XCLAIM', stream, ARGV[2], '-', 0, id, 'JUSTID')
    local record = redis.call('XRANGE', stream, id, id)[1]
    if record and tonumber(ARGV[5]) > 0 and pending[4] >= tonumber(ARGV[5]) then
      redis.call('ZADD', open, text(now + 10000), id)
      table.insert(dead, {id, record[2], pending[4], ARGV[4]})
    else
      redis.call('ZADD', open, text(now + ARGV[3]), id)
    end
  end
end
wake()
return {count, dead}
""")

# ARGV 2: group. Members, what is behind the position, what is pending, and the last id that is settled with all before.
GROUP_INFO = _step("""
local members, position, pending, behind = {}, nil, 0, false
for _, told in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  local fields = {}
  for at = 1, #told, 2 do fields[told[at]] = told[at + 1] end
  if fields['name'] == ARGV[2] then
    position, pending, behind = fields['last-delivered-id'], fields['pending'], fields['lag']
  end
end
if not position then return redis.error_reply('NOGROUP') end
if not behind then behind = #redis.call('XRANGE', stream, '(' .. position, '+', 'COUNT', 10000) end
for _, told in ipairs(redis.call('XINFO', 'CONSUMERS', stream, ARGV[2])) do
  if told[2] ~= '-' then table.insert(members, told[2]) end
end
local settled = position
if pending > 0 then
  local first = redis.call('XPENDING', stream, ARGV[2])[2]
  local before = redis.call('XREVRANGE', stream, '(' .. first, '-', 'COUNT', 1)[1]
  settled = before and before[1] or ''
end
if settled == (redis.call('HGET', meta, 'start:' .. ARGV[2]) or '0-0') then settled = '' end
return {members, behind, pending, settled}
""")

# ARGV 2: group, 3: the id behind which it goes on, 4: the next one
SEEK = _step("""
local first = redis.call('XRANGE', stream, from(ARGV[4]), '+', 'COUNT', 1)[1]
while true do
  local pending = redis.call('XPENDING', stream, ARGV[2], '-', '+', 1000)
  if #pending == 0 then break end
  for _, entry in ipairs(pending) do redis.call('XACK', stream, ARGV[2], entry[1]) end
end
redis.call('DEL', open)
redis.call('XGROUP', 'SETID', stream, ARGV[2], ARGV[3])
redis.call('HSET', meta, 'start:' .. ARGV[2], ARGV[3])
wake()
return first and first[1] or ''
""")

# ARGV 2: max_age_ms, 3: max_records
SET_RETENTION = _step("""
begin()
redis.call('HSET', meta, 'max_age_ms', ARGV[2], 'max_records', ARGV[3])
age, most = tonumber(ARGV[2]), tonumber(ARGV[3])
return trim()
""")

TRIM = _step("return {there and 1 or 0, trim(), conf[2] or '', conf[3] or ''}")

# Whether there is such a stream, its records, the ids of the oldest and the newest, and the names of its groups.
DESCRIBE = _step("""
if redis.call('EXISTS', stream) == 0 then return {there and 1 or 0, 0, '', '', {}} end
trim()
local groups = {}
for _, told in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  for at = 1, #told, 2 do if told[at] == 'name' then table.insert(groups, told[at + 1]) end end
end
local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
return {1, redis.call('XLEN', stream), oldest and oldest[1] or '', newest and newest[1] or '', groups}
""")

PURGE = _step("""
if redis.call('EXISTS', stream) == 0 then return {there and 1 or 0, 0} end
return {1, redis.call('XTRIM', stream, 'MAXLEN', '=', 0)}
""")

# ARGV 2: group
DELETE_GROUP = _step("""
redis.call('XGROUP', 'DESTROY', stream, ARGV[2])
redis.call('DEL', open)
redis.call('HDEL', meta, 'start:' .. ARGV[2])
return 1
""")

# ARGV 2..: ids
REMOVE = _step("return redis.call('XDEL', stream, unpack(ARGV, 2))")
