// Backtest evaluates versions of alerting rules and Alertmanager's routes over history.
//
// It reads a request as JSON from its standard input and writes an answer as JSON to its standard output; what it is
// doing goes to standard error, a line a rule. Expressions are evaluated by Prometheus' engine, alerts live in
// Prometheus' rules, routes, inhibition and time intervals are Alertmanager's own packages.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Request says what is evaluated. Times are Unix seconds.
type Request struct {
	// Blocks is a folder with blocks of Prometheus', Prometheus the address of a running one; one of the two.
	Blocks     string `json:"blocks"`
	Prometheus string `json:"prometheus"`
	// Start and End are what is reported; 0 takes all blocks. Evaluation begins WarmUp seconds before Start.
	Start  int64 `json:"start"`
	End    int64 `json:"end"`
	WarmUp int64 `json:"warm_up"`
	// Interval is Prometheus' evaluation_interval in seconds, for groups that name none.
	Interval int64     `json:"interval"`
	Versions []Version `json:"versions"`
	// Stepping lets Prometheus' groups evaluate themselves step by step: slow, and what the fast way has to equal.
	Stepping bool `json:"stepping"`
}

// Version is one state of the files, all paths within Folder.
type Version struct {
	Folder       string            `json:"folder"`
	Rules        []string          `json:"rules"`
	Alertmanager string            `json:"alertmanager"`
	Labels       map[string]string `json:"external_labels"`
}

// Answer is what came out, in the order of the request's versions.
type Answer struct {
	Start    int64     `json:"start"`
	End      int64     `json:"end"`
	Versions []*Result `json:"versions"`
}

// Result is what one version does.
type Result struct {
	// Refused holds the words of Prometheus or Alertmanager about files that they do not take; nothing else is there then.
	Refused []string `json:"refused"`
	// Failed holds what failed while rules were evaluated.
	Failed        []string        `json:"failed"`
	Firings       []*Firing       `json:"firings"`
	Notifications []*Notification `json:"notifications"`
}

// Firing is one time that one alert fired.
type Firing struct {
	Alert  string            `json:"alert"`
	Labels map[string]string `json:"labels"`
	Active int64             `json:"active"`
	Start  int64             `json:"start"`
	// End is 0 where it still fires.
	End       int64       `json:"end"`
	Inhibited []Inhibited `json:"inhibited"`
	// HeldBack names the time intervals that kept a notification back.
	HeldBack  []string `json:"held_back"`
	Receivers []string `json:"receivers"`
}

// Inhibited is a time in which another alert spoke instead.
type Inhibited struct {
	Start int64  `json:"start"`
	End   int64  `json:"end"`
	By    string `json:"by"`
}

// Notification is one that says that something fires; those that say that it is over are not counted.
type Notification struct {
	Time     int64  `json:"time"`
	Receiver string `json:"receiver"`
	// Alerts are the names of those in it, each once.
	Alerts []string `json:"alerts"`
	Repeat bool     `json:"repeat"`
}

func main() {
	var request Request
	if err := json.NewDecoder(os.Stdin).Decode(&request); err != nil {
		fail(err)
	}
	answer, err := backtest(&request)
	if err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func backtest(request *Request) (*Answer, error) {
	folder, err := os.MkdirTemp("", "backtest-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	past, err := openHistory(request, folder)
	if err != nil {
		return nil, err
	}
	defer past.close()

	answer := &Answer{Start: request.Start, End: request.End}
	var loaded []*ruleSet
	refused := false
	for _, version := range request.Versions {
		rules, routes, words := load(version, request)
		answer.Versions = append(answer.Versions, &Result{Refused: words})
		refused = refused || len(words) > 0
		rules.routes = routes
		loaded = append(loaded, rules)
		past.hide(rules.recorded())
	}
	if refused {
		return answer, nil
	}
	known := memory{}
	for number, rules := range loaded {
		result := answer.Versions[number]
		overlay := filepath.Join(folder, fmt.Sprint(number))
		if err := rules.evaluate(request, past, overlay, known, result); err != nil {
			return nil, err
		}
		rules.routes.reach(result, request)
		result.clip(request.Start, request.End)
	}
	return answer, nil
}

// clip leaves what touches the reported time.
func (r *Result) clip(start, end int64) {
	firings, notifications := []*Firing{}, []*Notification{}
	for _, one := range r.Firings {
		if one.Start <= end && (one.End == 0 || one.End > start) {
			firings = append(firings, one)
		}
	}
	for _, one := range r.Notifications {
		if start <= one.Time && one.Time <= end {
			notifications = append(notifications, one)
		}
	}
	r.Firings, r.Notifications = firings, notifications
}

func seconds(number int64) time.Time { return time.Unix(number, 0).UTC() }
