-- What wrk sends, and what it says at the end: one line of JSON.
--
--   wrk … -s requests.lua URL -- EVENTS FORMAT RECORDS [PAUSE_MS] [statuses]
--
-- EVENTS is a CSV file of `entity,ip`; FORMAT is json or csv; a request holds RECORDS of the events, one after the
-- other. A connection pauses PAUSE_MS on average before a request. With `statuses`, answers are counted by
-- status, which costs wrk a call of Lua an answer.

local threads = {}

function setup(thread)
   thread:set("number", #threads)
   table.insert(threads, thread)
end

local function read_events(path, first, count)
   local events = {}
   for line in io.lines(path) do
      local entity, ip = line:match("^([^,]+),%s*([%d.]+)")
      if entity then table.insert(events, { entity, ip }) end
   end
   assert(#events > 0, path .. " holds no events")
   local taken = {}
   for i = 0, count - 1 do taken[i + 1] = events[(first + i) % #events + 1] end
   return taken
end

local function body_of(format, events, first, count)
   local rows = {}
   for i = first, first + count - 1 do
      local entity, ip = events[i][1], events[i][2]
      if format == "csv" then
         table.insert(rows, entity .. "," .. ip .. "\n")
      else
         table.insert(rows, '{"features":["' .. entity .. '","' .. ip .. '"]}')
      end
   end
   if format == "csv" then return table.concat(rows) end
   return '{"instances":[' .. table.concat(rows, ",") .. "]}"
end

function init(args)
   local path, format, records = args[1], args[2], tonumber(args[3])
   local pause = tonumber(args[4] or 0)
   wrk.method = "POST"
   wrk.headers["Content-Type"] = format == "csv" and "text/csv" or "application/json"

   -- Enough that the rows of the table which they ask for fit no cache.
   local num_requests = math.max(16, math.floor(4096 / records))
   local events = read_events(path, number * 7919, num_requests * records)
   local prepared = {}
   for i = 1, num_requests do
      prepared[i] = wrk.format(nil, nil, nil, body_of(format, events, (i - 1) * records + 1, records))
   end
   local next_request = 0
   function request()
      next_request = next_request % num_requests + 1
      return prepared[next_request]
   end

   if pause > 0 then
      function delay() return math.random(0, 2 * pause) end
   end
   if args[5] == "statuses" then
      -- Of each thread's globals done() gets numbers and text only.
      function response(status)
         local name = "status_" .. status
         _G[name] = (_G[name] or 0) + 1
      end
   end
end

function done(summary, latency)
   local statuses = {}
   for status = 100, 599 do
      local count = 0
      for _, thread in ipairs(threads) do count = count + (thread:get("status_" .. status) or 0) end
      if count > 0 then table.insert(statuses, string.format('"%d":%d', status, count)) end
   end
   local errors = summary.errors
   io.write(string.format(
      '{"requests":%d,"seconds":%f,"p50_us":%f,"p99_us":%f,"p999_us":%f,"max_us":%f,"statuses":{%s},'
         .. '"connect_errors":%d,"read_errors":%d,"write_errors":%d,"timeouts":%d,"status_errors":%d}\n',
      summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
      latency:percentile(99.9), latency.max,
      table.concat(statuses, ","),
      errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
