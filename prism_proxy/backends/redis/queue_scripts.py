"""The steps of a queue, each one Lua script: all keys of a queue are in one cluster slot, and time is the server's.

    meta     hash   v (the layout), seq and order (counters), dead_letter_queue, max_receives
    ready    zset   id by priority, then by the order in which it became ready
    later    zset   id by the time at which it becomes ready
    leased   zset   id by the end of its lease
    data     hash   id -> the stored message (`queue_records`)
    counts   hash   id -> how often it was delivered
    expiry   zset   id by the time after which nobody wants it
    dead     zset   id that is on its way to the dead letters, by the time at which somebody else may move it
    reasons  hash   id -> why it is dead
    age      zset   id by the time at which it was stored

An id begins with the priority. Every step first takes what is due: 100 at most of each kind, so that no step is long.
"""

from __future__ import annotations

from prism_proxy.backends.redis.scripts import Script

PARTS = ("meta", "ready", "later", "leased", "data", "counts", "expiry", "dead", "reasons", "age")
LAYOUT = 1

_COMMON = """
if redis.replicate_commands then redis.replicate_commands() end
local meta, ready, later, leased, data, counts, expiry, dead, reasons, age = unpack(KEYS, 1, 10)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local conf = redis.call('HMGET', meta, 'v', 'max_receives')
if conf[1] and conf[1] ~= '1' then return redis.error_reply('LAYOUT ' .. conf[1]) end
local most = tonumber(conf[2] or ARGV[1])
local wake = false

local function text(number) return string.format('%.0f', number) end

local function make_ready(id)
  if not wake and redis.call('ZCARD', ready) == 0 then wake = true end
  local rank = 10 - tonumber(string.sub(id, 1, 2))
  redis.call('ZADD', ready, text(rank * 281474976710656 + redis.call('HINCRBY', meta, 'order', 1)), id)
end

local function remove(id)
  redis.call('ZREM', ready, id) redis.call('ZREM', later, id) redis.call('ZREM', leased, id)
  redis.call('ZREM', expiry, id) redis.call('ZREM', dead, id) redis.call('ZREM', age, id)
  redis.call('HDEL', data, id) redis.call('HDEL', counts, id) redis.call('HDEL', reasons, id)
end

local function give_up(id, reason)
  redis.call('ZREM', leased, id)
  redis.call('HSET', reasons, id, reason)
  redis.call('ZADD', dead, 0, id)
end

local function give_back(id, reason, delay)
  local count = tonumber(redis.call('HGET', counts, id) or 0)
  if most > 0 and count >= most then give_up(id, reason) return end
  redis.call('ZREM', leased, id)
  if delay > 0 then redis.call('ZADD', later, text(now + delay), id) else make_ready(id) end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', expiry, '-inf', text(now), 'LIMIT', 0, 100)) do
  if redis.call('ZSCORE', leased, id) then redis.call('ZREM', expiry, id) else remove(id) end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', later, '-inf', text(now), 'LIMIT', 0, 100)) do
  redis.call('ZREM', later, id)
  make_ready(id)
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', leased, '-inf', text(now), 'LIMIT', 0, 100)) do
  give_back(id, 'the lease ended', 0)
end

local function whose(receipt)
  local id, count = string.match(receipt, '^(%d%d:%d+)%.(%d+)$')
  if not id or redis.call('HGET', counts, id) ~= count then return nil end
  if tonumber(redis.call('ZSCORE', leased, id) or 0) <= now then return nil end
  return id
end

local function finish(result)
  if wake then redis.call('PUBLISH', ARGV[2], '') end
  local due = 0
  for _, of in ipairs({later, leased}) do
    local first = redis.call('ZRANGE', of, 0, 0, 'WITHSCORES')
    if first[2] and (due == 0 or tonumber(first[2]) < due) then due = tonumber(first[2]) end
  end
  local moving = {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', dead, '-inf', text(now), 'LIMIT', 0, 10)) do
    redis.call('ZADD', dead, text(now + 10000), id)
    table.insert(moving, {id, redis.call('HGET', data, id), redis.call('HGET', counts, id) or '0',
                          redis.call('HGET', reasons, id) or ''})
  end
  return {result, due == 0 and -1 or math.max(0, due - now), moving}
end
"""


def _step(source: str) -> Script:
    return Script(_COMMON + source)


# KEYS 11..: of deduplication ids. ARGV 3: window, then for each message: id, data, priority, deliver at, expires, which
# of the deduplication keys (0 = none)
ENQUEUE = _step("""
redis.call('HSETNX', meta, 'v', '1')
local ids = {}
for at = 4, #ARGV, 6 do
  local name, priority, from, till, once = ARGV[at], ARGV[at + 2], tonumber(ARGV[at + 3]), ARGV[at + 4], ARGV[at + 5]
  local first = once ~= '0' and redis.call('GET', KEYS[10 + once])
  if not first then
    if once ~= '0' then redis.call('SET', KEYS[10 + once], name, 'PX', ARGV[3]) end
    local id = string.format('%02d:%.0f', priority, redis.call('HINCRBY', meta, 'seq', 1))
    redis.call('HSET', data, id, ARGV[at + 1])
    redis.call('ZADD', age, text(now), id)
    if till ~= '0' then redis.call('ZADD', expiry, till, id) end
    if from > now then redis.call('ZADD', later, text(from), id) else make_ready(id) end
  end
  table.insert(ids, first or name)
end
return finish(ids)
""")

# ARGV 3: how many, 4: for how long, or 0 to remove them
LEASE = _step("""
local found, count = {}, tonumber(ARGV[3])
while #found < count do
  local ids = redis.call('ZRANGE', ready, 0, count - #found - 1)
  if #ids == 0 then break end
  for _, id in ipairs(ids) do
    local message = redis.call('HGET', data, id)
    local till = redis.call('ZSCORE', expiry, id)
    if not message or (till and tonumber(till) <= now) then
      remove(id)
    elseif ARGV[4] == '0' then
      table.insert(found, {id, message, (redis.call('HGET', counts, id) or 0) + 1})
      remove(id)
    else
      redis.call('ZREM', ready, id)
      redis.call('ZADD', leased, text(now + ARGV[4]), id)
      table.insert(found, {id, message, redis.call('HINCRBY', counts, id, 1)})
    end
  end
end
return finish(found)
""")

# ARGV 3: how many, 4: the score from which on, exclusively, or -inf
PEEK = _step("""
local found = {}
local ids = redis.call('ZRANGEBYSCORE', ready, ARGV[4], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
for at = 1, #ids, 2 do
  table.insert(found, {ids[at], redis.call('HGET', data, ids[at]) or '', redis.call('HGET', counts, ids[at]) or 0,
                       text(tonumber(ids[at + 1]))})
end
return finish(found)
""")

# ARGV 3: until when from now, 4: the receipt
EXTEND = _step("""
local id = whose(ARGV[4])
if id then redis.call('ZADD', leased, text(now + ARGV[3]), id) end
return finish(id and 1 or 0)
""")

# ARGV 3: DONE, RETRY or FAIL, or UNDO of a delivery that reached nobody, 4: reason, 5: delay, then receipts
SETTLE = _step("""
local results = {}
for at = 6, #ARGV do
  local id = whose(ARGV[at])
  if id then
    if ARGV[3] == 'DONE' or (ARGV[3] == 'FAIL' and most == 0) then remove(id)
    elseif ARGV[3] == 'FAIL' then give_up(id, ARGV[4])
    elseif ARGV[3] == 'RETRY' then give_back(id, ARGV[4], tonumber(ARGV[5]))
    else
      redis.call('HINCRBY', counts, id, -1)
      redis.call('ZREM', leased, id)
      make_ready(id)
    end
  end
  table.insert(results, id and 1 or 0)
end
return finish(results)
""")

# ARGV 3: the id. Lease one message that is ready, for a minute.
CLAIM = _step("""
if redis.call('ZREM', ready, ARGV[3]) == 0 then return finish(0) end
redis.call('ZADD', leased, text(now + 60000), ARGV[3])
return finish(redis.call('HINCRBY', counts, ARGV[3], 1))
""")

# ARGV 3..: ids that have arrived elsewhere
MOVED = _step("""
for at = 3, #ARGV do remove(ARGV[at]) end
return finish(0)
""")

# The counts of all kinds, the earliest time of a scheduled one, when the oldest of those ready was stored, and the dead
# letters' settings.
COUNTS = _step("""
local oldest, from = 0, 0
while oldest == 0 and from < 1000 do
  local ids = redis.call('ZRANGE', age, from, from + 99, 'WITHSCORES')
  if #ids == 0 then break end
  for at = 1, #ids, 2 do
    if redis.call('ZSCORE', ready, ids[at]) then oldest = ids[at + 1] break end
  end
  from = from + 100
end
local first = redis.call('ZRANGE', later, 0, 0, 'WITHSCORES')
local told = redis.call('HMGET', meta, 'dead_letter_queue', 'max_receives')
return finish({redis.call('ZCARD', ready), redis.call('ZCARD', leased), redis.call('ZCARD', later),
               text(tonumber(first[2] or 0)), text(tonumber(oldest)), told[1] or '', told[2] or ARGV[1]})
""")

PURGE = _step("""
local removed = redis.call('HLEN', data)
redis.call('UNLINK', ready, later, leased, data, counts, expiry, dead, reasons, age)
return finish(removed)
""")

# ARGV 3: the dead letter queue, 4: after so many deliveries
CONFIGURE = _step("""
redis.call('HSET', meta, 'v', '1', 'dead_letter_queue', ARGV[3], 'max_receives', ARGV[4])
return finish(0)
""")
