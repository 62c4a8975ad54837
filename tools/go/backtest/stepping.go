package main

import (
	"context"
	"time"

	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// step lets the groups evaluate themselves, one time after another, as Prometheus does when it runs.
func (s *ruleSet) step(request *Request, over storage.Queryable, overlay *tsdb.DB, result *Result) error {
	options := *s.options
	options.QueryFunc = rules.EngineQueryFunc(s.engine, over)
	options.AppendableV2 = overlay
	options.Queryable = over
	options.NotifyFunc = func(context.Context, string, ...*rules.Alert) {}
	type running struct {
		*rules.Group
		logs map[*rules.AlertingRule]*firingLog
	}
	var groups []running
	for _, group := range s.groups {
		one := running{logs: map[*rules.AlertingRule]*firingLog{}}
		one.Group = rules.NewGroup(rules.GroupOptions{
			Name: group.Name(), File: group.File(), Interval: group.Interval(), Limit: group.Limit(),
			Rules: group.Rules(), Opts: &options,
		})
		for _, alert := range one.AlertingRules() {
			alert.SetRestored(true)
			one.logs[alert] = newLog(alert.Name())
		}
		groups = append(groups, one)
	}
	for now := seconds(request.Start - request.WarmUp); !now.After(seconds(request.End)); now = now.Add(time.Second) {
		for _, group := range groups {
			if !now.Truncate(group.Interval()).Equal(now) {
				continue
			}
			group.Eval(context.Background(), now)
			for alert, log := range group.logs {
				log.note(alert, now)
			}
		}
	}
	for _, group := range groups {
		for _, alert := range group.AlertingRules() {
			result.Firings = append(result.Firings, group.logs[alert].firings...)
		}
		for _, one := range group.Rules() {
			if err := one.LastError(); err != nil {
				result.Failed = append(result.Failed, group.File()+": "+one.Name()+": "+err.Error())
			}
		}
	}
	return nil
}
