package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
	_ "time/tzdata" // of the places that time intervals name

	"github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/inhibit"
	"github.com/prometheus/alertmanager/provider"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/alertmanager/timeinterval"
	"github.com/prometheus/alertmanager/types"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
)

// routes is Alertmanager's configuration; nil where a version has none, so that nobody is told.
type routes struct {
	tree      *dispatch.Route
	inhibits  []config.InhibitRule
	intervals *timeinterval.Intervener
	external  map[string]string
}

func loadRoutes(path string, external map[string]string) (*routes, error) {
	if path == "" {
		return nil, nil
	}
	conf, err := config.LoadFile(path)
	if err != nil {
		return nil, err
	}
	if _, err := template.FromGlobs(conf.Templates); err != nil {
		return nil, err
	}
	intervals := map[string][]timeinterval.TimeInterval{}
	for _, one := range conf.MuteTimeIntervals {
		intervals[one.Name] = one.TimeIntervals
	}
	for _, one := range conf.TimeIntervals {
		intervals[one.Name] = one.TimeIntervals
	}
	tree := dispatch.NewRoute(conf.Route, nil)
	return &routes{tree, conf.InhibitRules, timeinterval.NewIntervener(intervals), external}, nil
}

// reach says of each firing who is told and what held it back.
func (r *routes) reach(result *Result, request *Request) {
	if r == nil {
		return
	}
	r.inhibit(result.Firings, request.End)
	for _, group := range r.groups(result.Firings) {
		group.notify(r, result, request.End)
	}
	slices.SortStableFunc(result.Notifications, func(a, b *Notification) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Receiver, b.Receiver))
	})
}

func (r *routes) labels(firing *Firing) model.LabelSet { return labelSet(r.external, firing.Labels) }

func (f *Firing) at(now int64) bool { return f.Start <= now && (f.End == 0 || now < f.End) }

// inhibit asks Alertmanager's inhibitor between any two times at which an alert began or ended.
func (r *routes) inhibit(firings []*Firing, end int64) {
	times := map[int64]bool{}
	for _, one := range firings {
		times[one.Start] = true
		if one.End != 0 {
			times[one.End] = true
		}
	}
	moments := append(slices.Sorted(maps.Keys(times)), end)
	for number, now := range moments[:max(len(moments)-1, 0)] {
		var there alerts
		names := map[string]string{}
		for _, one := range firings {
			if one.at(now) {
				alert := &types.Alert{Alert: model.Alert{Labels: r.labels(one), StartsAt: seconds(one.Start)}}
				there = append(there, alert)
				names[alert.Fingerprint().String()] = one.Alert
			}
		}
		marker := types.NewMarker(prometheus.NewRegistry())
		inhibitor := inhibit.NewInhibitor(there, r.inhibits, marker, promslog.NewNopLogger())
		go inhibitor.Run()
		inhibitor.WaitForLoading()
		for _, one := range firings {
			if labels := r.labels(one); one.at(now) && inhibitor.Mutes(context.Background(), labels) {
				by := marker.Status(labels.Fingerprint()).InhibitedBy[0]
				one.inhibited(now, moments[number+1], names[by])
			}
		}
		inhibitor.Stop()
	}
}

func (f *Firing) inhibited(start, end int64, by string) {
	if last := len(f.Inhibited) - 1; last >= 0 && f.Inhibited[last].End == start && f.Inhibited[last].By == by {
		f.Inhibited[last].End = end
		return
	}
	f.Inhibited = append(f.Inhibited, Inhibited{start, end, by})
}

func (f *Firing) silent(now int64) bool {
	return slices.ContainsFunc(f.Inhibited, func(one Inhibited) bool { return one.Start <= now && now < one.End })
}

// alerts hands a list to the inhibitor, which asks for nothing else.
type alerts []*types.Alert

func (a alerts) Subscribe(string) provider.AlertIterator {
	return provider.NewAlertIterator(make(chan *provider.Alert), make(chan struct{}), nil)
}

func (a alerts) SlurpAndSubscribe(name string) ([]*types.Alert, provider.AlertIterator) {
	return a, a.Subscribe(name)
}
func (a alerts) GetPending() provider.AlertIterator             { return a.Subscribe("") }
func (a alerts) Get(model.Fingerprint) (*types.Alert, error)    { return nil, provider.ErrNotFound }
func (a alerts) Put(_ context.Context, _ ...*types.Alert) error { return nil }

// group is what Alertmanager sends together: one route, and one set of the labels that it groups by.
type group struct {
	route   *dispatch.Route
	firings []*Firing
}

func (r *routes) groups(firings []*Firing) []*group {
	byKey := map[string]*group{}
	var found []*group
	for _, one := range firings {
		set := r.labels(one)
		for _, route := range r.tree.Match(set) {
			together := model.LabelSet{}
			for name, value := range set {
				if _, ok := route.RouteOpts.GroupBy[name]; ok || route.RouteOpts.GroupByAll {
					together[name] = value
				}
			}
			key := fmt.Sprint(route.ID(), together.Fingerprint())
			if byKey[key] == nil {
				byKey[key] = &group{route: route}
				found = append(found, byKey[key])
			}
			byKey[key].firings = append(byKey[key].firings, one)
		}
	}
	for _, one := range found {
		slices.SortStableFunc(one.firings, func(a, b *Firing) int { return cmp.Compare(a.Start, b.Start) })
	}
	return found
}

// notify plays the timers of Alertmanager's dispatcher, which run by the clock: a group is looked at group_wait after
// its first alert came, then every group_interval until it is empty; what `entry` says is due is sent.
func (g *group) notify(r *routes, result *Result, end int64) {
	opts := g.route.RouteOpts
	var last entry
	var look time.Time // zero: no alert is in the group
	over := map[*Firing]bool{}
	waiting := g.firings
	for {
		if look.IsZero() {
			for len(waiting) > 0 && over[waiting[0]] {
				waiting = waiting[1:]
			}
			if len(waiting) == 0 {
				return
			}
			look = seconds(waiting[0].Start).Add(opts.GroupWait)
		}
		now := look.Unix()
		if now > end {
			return
		}
		var firing, ended []*Firing
		for _, one := range waiting {
			switch {
			case one.Start > now || over[one]:
			case one.at(now):
				firing = append(firing, one)
			default: // its end is told now, with the next look it is gone
				ended = append(ended, one)
				over[one] = true
			}
		}
		empty := len(firing) == 0
		if held := r.held(opts, look); held != "" {
			for _, one := range firing {
				one.HeldBack = with(one.HeldBack, held)
			}
		} else {
			loud := slices.DeleteFunc(slices.Clone(firing), func(one *Firing) bool { return one.silent(now) })
			next := entry{look, r.prints(loud), r.prints(ended)}
			for print := range r.prints(firing) {
				delete(next.over, print) // it fires again already
			}
			due, news, repeat := last.due(next, opts.RepeatInterval)
			if due {
				last = next
			}
			if news || repeat {
				result.Notifications = append(result.Notifications, notification(now, opts.Receiver, loud, !news))
			}
		}
		look = look.Add(opts.GroupInterval)
		if empty {
			look = time.Time{}
		}
	}
}

func (r *routes) prints(firings []*Firing) map[model.Fingerprint]bool {
	prints := map[model.Fingerprint]bool{}
	for _, one := range firings {
		prints[r.labels(one).Fingerprint()] = true
	}
	return prints
}

// entry is what a receiver was told last of a group, as Alertmanager's log of notifications keeps it.
type entry struct {
	sent         time.Time
	firing, over map[model.Fingerprint]bool
}

// due says what Alertmanager's DedupStage says of a receiver that is told of ends too: whether it is told, whether of
// something new, and whether only because repeat_interval has passed. routes_test.go compares it with the original.
func (e entry) due(next entry, repeat time.Duration) (due, news, again bool) {
	missing := func(known, asked map[model.Fingerprint]bool) bool {
		for print := range asked {
			if !known[print] {
				return true
			}
		}
		return false
	}
	switch {
	case len(next.firing)+len(next.over) == 0: // all of it is inhibited
		return false, false, false
	case len(next.firing) == 0:
		return len(e.firing) > 0, false, false
	}
	news, ends := missing(e.firing, next.firing), missing(e.over, next.over)
	again = !news && !ends && next.sent.Sub(e.sent) > repeat
	return news || ends || again, news, again
}

func notification(now int64, receiver string, firings []*Firing, repeat bool) *Notification {
	one := &Notification{Time: now, Receiver: receiver, Repeat: repeat}
	for _, firing := range firings {
		firing.Receivers = with(firing.Receivers, receiver)
		one.Alerts = with(one.Alerts, firing.Alert)
	}
	return one
}

func with(list []string, text string) []string {
	if slices.Contains(list, text) {
		return list
	}
	return append(list[:len(list):len(list)], text)
}

// held names the time interval that keeps a route silent now; a route's own, they are not inherited.
func (r *routes) held(opts dispatch.RouteOpts, now time.Time) string {
	if muted, names, err := r.intervals.Mutes(opts.MuteTimeIntervals, now); err == nil && muted {
		return names[0]
	}
	if active, _, err := r.intervals.Mutes(opts.ActiveTimeIntervals, now); err == nil && !active {
		if len(opts.ActiveTimeIntervals) > 0 {
			return opts.ActiveTimeIntervals[0]
		}
	}
	return ""
}
