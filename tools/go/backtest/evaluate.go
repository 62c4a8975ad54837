package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

const (
	maxSamples = 200_000_000
	// Longer than any history: a series is written from its beginning, after others were written to their end.
	overlayRange = 400 * 24 * time.Hour
)

// ruleSet is one version's rules, in an order in which each comes after those whose series it reads.
type ruleSet struct {
	rules  []*rule
	groups []*rules.Group
	routes *routes
	engine *promql.Engine
	// watched: some rule reads the alerts of others.
	watched bool
	options *rules.ManagerOptions
}

type rule struct {
	rules.Rule
	group *rules.Group
	// key is equal for two rules that give the same result: their own text, and that of all that they read.
	key string
}

// outcome is what a rule does over the history: samples by time, and, of an alert, when it fired.
type outcome struct {
	samples []promql.Vector
	firings []*Firing
	err     error
}

// memory keeps the outcomes of rules that both versions share.
type memory map[string]*outcome

// load reads a version's files as Prometheus and Alertmanager do. The words are theirs where they refuse one.
func load(version Version, request *Request) (*ruleSet, *routes, []string) {
	if err := os.Chdir(version.Folder); err != nil { // so that they name files as people do
		return &ruleSet{}, nil, []string{err.Error()}
	}
	set := &ruleSet{
		engine: promql.NewEngine(promql.EngineOpts{
			MaxSamples:               maxSamples,
			Timeout:                  time.Hour,
			EnableAtModifier:         true,
			EnableNegativeOffset:     true,
			NoStepSubqueryIntervalFn: func(int64) int64 { return request.Interval * 1000 },
			Parser:                   parser.NewParser(parser.Options{}),
		}),
		options: &rules.ManagerOptions{Context: context.Background(), Logger: promslog.NewNopLogger()},
	}
	manager := rules.NewManager(set.options)
	external := labels.FromMap(version.Labels)
	interval := time.Duration(request.Interval) * time.Second
	var words []string
	for _, path := range version.Rules {
		groups, errs := manager.LoadGroups(interval, external, "", nil, false, path)
		for _, err := range errs {
			words = append(words, err.Error())
		}
		if len(errs) > 0 {
			continue
		}
		written, _ := set.options.GroupLoader.Load(path, false, model.UTF8Validation) // they come in a map
		for _, group := range written.Groups {
			set.groups = append(set.groups, groups[rules.GroupKey(path, group.Name)])
		}
	}
	routes, err := loadRoutes(version.Alertmanager, version.Labels)
	if err != nil {
		words = append(words, fmt.Sprintf("%s: %s", version.Alertmanager, err))
	}
	set.order(external)
	return set, routes, words
}

func (s *ruleSet) recorded() []string {
	var names []string
	for _, one := range s.rules {
		if _, ok := one.Rule.(*rules.RecordingRule); ok {
			names = append(names, one.Name())
		}
	}
	return names
}

// order puts each rule after those that it reads. A rule that selects without a name may read everything.
func (s *ruleSet) order(external labels.Labels) {
	var all []*rule
	makers := map[string][]*rule{}
	for _, group := range s.groups {
		for _, one := range group.Rules() {
			if alert, ok := one.(*rules.AlertingRule); ok {
				one = bare(alert, external)
			}
			made := &rule{Rule: one, group: group}
			all = append(all, made)
			if _, ok := one.(*rules.RecordingRule); ok {
				makers[one.Name()] = append(makers[one.Name()], made)
			} else {
				makers["ALERTS"] = append(makers["ALERTS"], made)
				makers["ALERTS_FOR_STATE"] = append(makers["ALERTS_FOR_STATE"], made)
			}
		}
	}
	placed := map[*rule]bool{}
	var place func(*rule)
	place = func(one *rule) {
		if placed[one] {
			return
		}
		placed[one] = true
		key := []string{fmt.Sprint(one.group.Interval(), one.group.Limit(), " ", one)}
		for _, name := range reads(one.Query()) {
			s.watched = s.watched || name == "ALERTS" || name == "ALERTS_FOR_STATE"
			before := makers[name]
			if name == "" {
				before = slices.DeleteFunc(slices.Clone(all), func(other *rule) bool { return nameless(other) })
			}
			for _, other := range before {
				place(other)
				key = append(key, other.key)
			}
		}
		one.key = strings.Join(key, "\n")
		s.rules = append(s.rules, one)
	}
	for _, one := range all {
		place(one)
	}
}

// bare is the rule without texts, whose templates would be filled in at every step, and with its state restored.
func bare(alert *rules.AlertingRule, external labels.Labels) *rules.AlertingRule {
	return rules.NewAlertingRule(
		alert.Name(), alert.Query(), alert.HoldDuration(), alert.KeepFiringFor(), alert.Labels(),
		labels.EmptyLabels(), external, "", true, promslog.NewNopLogger(),
	)
}

// reads gives the names that an expression selects, empty for a selector without one.
func reads(expression parser.Expr) []string {
	var names []string
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			name := ""
			for _, matcher := range selector.LabelMatchers {
				if matcher.Name == labels.MetricName && matcher.Type == labels.MatchEqual {
					name = matcher.Value
				}
			}
			names = append(names, name)
		}
		return nil
	})
	return names
}

func nameless(one *rule) bool { return slices.Contains(reads(one.Query()), "") }

func (s *ruleSet) evaluate(request *Request, past *history, folder string, known memory, result *Result) error {
	options := tsdb.DefaultOptions()
	options.MinBlockDuration = overlayRange.Milliseconds()
	options.MaxBlockDuration = overlayRange.Milliseconds()
	options.RetentionDuration = 0
	options.WALSegmentSize = -1
	overlay, err := tsdb.Open(folder, nil, nil, options, nil)
	if err != nil {
		return err
	}
	defer overlay.Close()
	over := past.under(overlay)
	if request.Stepping {
		return s.step(request, over, overlay, result)
	}
	for number, one := range s.rules {
		fmt.Fprintf(os.Stderr, "%d/%d %s\n", number+1, len(s.rules), one.Name())
		found, ok := known[one.key]
		if !ok {
			found = s.run(one, request, over)
			known[one.key] = found
		}
		if found.err != nil {
			result.Failed = append(result.Failed, fmt.Sprintf("%s: %s: %s", one.group.File(), one.Name(), found.err))
			continue
		}
		for _, firing := range found.firings {
			copied := *firing // the versions' routes differ, so who is told does
			result.Firings = append(result.Firings, &copied)
		}
		if err := write(overlay, one, request, found.samples); err != nil {
			return err
		}
	}
	return nil
}

// run evaluates one rule: a single query over all steps, whose points the rule then takes step by step.
func (s *ruleSet) run(one *rule, request *Request, over storage.Queryable) *outcome {
	first, last, interval := steps(one.group, request)
	background := context.Background()
	query, err := s.engine.NewRangeQuery(background, over, nil, one.Query().String(), first, last, interval)
	if err != nil {
		return &outcome{err: err}
	}
	defer query.Close()
	answer := query.Exec(background)
	if answer.Err != nil {
		return &outcome{err: answer.Err}
	}
	points, err := byStep(answer, first, interval, int(last.Sub(first)/interval)+1)
	if err != nil {
		return &outcome{err: err}
	}
	ask := rules.EngineQueryFunc(s.engine, over) // for templates that query
	found := &outcome{samples: make([]promql.Vector, len(points))}
	alert, alerting := one.Rule.(*rules.AlertingRule)
	log := newLog(one.Name())
	text := one.Query().String()
	for step, vector := range points {
		now := first.Add(time.Duration(step) * interval)
		if len(vector) == 0 && (!alerting || alert.ActiveAlertsCount() == 0) {
			continue // nothing comes of nothing
		}
		function := func(ctx context.Context, asked string, at time.Time) (promql.Vector, error) {
			if asked == text {
				return vector, nil
			}
			return ask(ctx, asked, at)
		}
		made, err := one.Eval(background, 0, now, function, nil, one.group.Limit())
		if err != nil {
			return &outcome{err: fmt.Errorf("at %s: %w", now.Format(time.RFC3339), err)}
		}
		if alerting {
			log.note(alert, now)
		}
		if !alerting || s.watched {
			found.samples[step] = made
		}
	}
	found.firings = log.firings
	return found
}

// steps are the times at which a group is evaluated. Prometheus shifts each group by an offset of its own.
func steps(group *rules.Group, request *Request) (first, last time.Time, interval time.Duration) {
	interval = group.Interval()
	from := seconds(request.Start - request.WarmUp)
	first = from.Truncate(interval)
	if first.Before(from) {
		first = first.Add(interval)
	}
	return first, first.Add(seconds(request.End).Sub(first).Truncate(interval)), interval
}

func byStep(answer *promql.Result, first time.Time, interval time.Duration, count int) ([]promql.Vector, error) {
	matrix, ok := answer.Value.(promql.Matrix)
	if !ok {
		return nil, errors.New("the result is no vector")
	}
	points := make([]promql.Vector, count)
	index := func(t int64) int { return int((t - first.UnixMilli()) / interval.Milliseconds()) }
	for _, series := range matrix {
		for _, point := range series.Floats {
			at := index(point.T)
			points[at] = append(points[at], promql.Sample{T: point.T, F: point.F, Metric: series.Metric})
		}
		for _, point := range series.Histograms {
			at := index(point.T)
			points[at] = append(points[at], promql.Sample{T: point.T, H: point.H, Metric: series.Metric})
		}
	}
	return points, nil
}

// write keeps what a rule made, for the rules that read it, and marks where a series ends, as groups do.
func write(overlay *tsdb.DB, one *rule, request *Request, samples []promql.Vector) error {
	first, _, interval := steps(one.group, request)
	appender := overlay.Appender(context.Background())
	before := map[uint64]labels.Labels{}
	for step, vector := range samples {
		now := first.Add(time.Duration(step) * interval).UnixMilli()
		there := map[uint64]labels.Labels{}
		for _, sample := range vector {
			if _, err := appender.Append(0, sample.Metric, now, sample.F); err != nil {
				return fmt.Errorf("%s: %w", one.Name(), err)
			}
			there[sample.Metric.Hash()] = sample.Metric
		}
		for hash, metric := range before {
			if _, ok := there[hash]; !ok {
				if _, err := appender.Append(0, metric, now, math.Float64frombits(value.StaleNaN)); err != nil {
					return fmt.Errorf("%s: %w", one.Name(), err)
				}
			}
		}
		before = there
	}
	return appender.Commit()
}

// firingLog notes when the instances of an alert begin to fire and end.
type firingLog struct {
	alert   string
	open    map[uint64]*Firing
	firings []*Firing
}

func newLog(alert string) *firingLog { return &firingLog{alert: alert, open: map[uint64]*Firing{}} }

func (l *firingLog) note(alert *rules.AlertingRule, now time.Time) {
	alert.ForEachActiveAlert(func(one *rules.Alert) {
		hash := one.Labels.Hash()
		open, firing := l.open[hash]
		switch {
		case one.State == rules.StateFiring && !firing:
			open = &Firing{
				Alert: l.alert, Labels: one.Labels.Map(), Active: one.ActiveAt.Unix(), Start: one.FiredAt.Unix(),
				Inhibited: []Inhibited{}, HeldBack: []string{}, Receivers: []string{},
			}
			l.open[hash] = open
			l.firings = append(l.firings, open)
		case one.State == rules.StateInactive && firing:
			open.End = now.Unix()
			delete(l.open, hash)
		}
	})
	slices.SortStableFunc(l.firings, func(a, b *Firing) int { return int(a.Start - b.Start) })
}

func labelSet(parts ...map[string]string) model.LabelSet {
	set := model.LabelSet{}
	for _, part := range parts {
		for name, value := range part {
			set[model.LabelName(name)] = model.LabelValue(value)
		}
	}
	return set
}
